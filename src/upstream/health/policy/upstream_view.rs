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
