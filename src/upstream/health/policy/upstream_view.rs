//! An upstream as a health policy sees it.

/// Upstream as a [`HealthPolicy`](super::HealthPolicy) sees it: its name and settings.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamView<'a> {
    name: &'a str,
    weight: u32,
    tags: &'a [(Box<str>, Box<str>)],
}

impl<'a> UpstreamView<'a> {
    pub(crate) const fn new(name: &'a str, weight: u32, tags: &'a [(Box<str>, Box<str>)]) -> Self {
        Self { name, weight, tags }
    }

    /// Returns the name; see [`Upstream::name`](crate::Upstream::name).
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Returns the weight; see [`Upstream::weight`](crate::Upstream::weight).
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns the newest value of a tag; see [`Upstream::tag`](crate::Upstream::tag).
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&'a str> {
        let tag = self.tags.iter().rev().find(|(name, _)| **name == *key);
        tag.map(|(_, value)| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_has_the_name_the_weight_and_the_newest_value_of_each_tag() {
        let tags = [("zone", "a"), ("rack", "7"), ("zone", "b")];
        let tags = tags.map(|(key, value)| (key.into(), value.into()));
        let view = UpstreamView::new("10.0.0.1:80", 3, &tags);
        assert_eq!((view.name(), view.weight()), ("10.0.0.1:80", 3));
        let values = ["zone", "rack", "other"].map(|key| view.tag(key));
        assert_eq!(values, [Some("b"), Some("7"), None]);
    }
}
