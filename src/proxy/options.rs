//! The host's options for one request.

use std::{fmt, sync::Arc, time::SystemTime};

use http::{Extensions, HeaderName, HeaderValue, request::Parts};
use tokio::time::Instant;

use crate::{
    frame::CloseFrame,
    http::headers::UpstreamHeaders,
    instant::saturating_add,
    tunnel::{TunnelConfig, info::TunnelInfo, reattach::Reattach},
    upstream::balance::Preference,
};

/// Options of the host for one request: what the tunnel is called, when it ends, what its upstream
/// gets, which upstream that should be, and whether another one may follow.
///
/// The function of [`ProxyLayer::authorize`](crate::ProxyLayer::authorize) returns them, or a
/// middleware in front of the layer puts them into the request's extensions. Where both do, each
/// option of the function replaces that of the middleware.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::{HeaderName, HeaderValue};
/// use wsplice::{RequestOptions, frame::{CloseCode, CloseFrame}};
///
/// let expires = SystemTime::now() + Duration::from_secs(900);
/// let options = RequestOptions::new()
///     .key("user-17")
///     .label("mobile app 4.2")
///     .deadline(expires)
///     .deadline_frame(CloseFrame::new(CloseCode::POLICY_VIOLATION, "token expired"))
///     .header(HeaderName::from_static("x-user-id"), HeaderValue::from_static("17"))
///     .prefer_tag("zone", "b");
/// # let _ = options;
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct RequestOptions {
    key: Option<Box<str>>,
    label: Option<Box<str>>,
    deadline: Option<Instant>,
    deadline_frame: Option<CloseFrame>,
    headers: UpstreamHeaders,
    preference: Preference,
    tunnel: Option<Arc<TunnelConfig>>,
    reattach: Option<ReattachChoice>,
    values: Extensions,
}

/// The host's choice of reattachment for one tunnel.
#[derive(Clone, Debug)]
enum ReattachChoice {
    With(Arc<Reattach>),
    Off,
}

/// Moment at which a tunnel ends: an instant, or a time of the wall clock.
///
/// A time of the wall clock becomes an instant when it is given, so that later changes of the clock
/// do not move the end. A time that has passed ends the tunnel as soon as it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl RequestOptions {
    /// Creates options that change nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the key of the tunnel: a user, a tenant, an account. The [registry](crate::Registry)
    /// lists, counts and closes tunnels by it, [`KeyLimit::by_request_key`](crate::KeyLimit) limits
    /// them, and observers find it in [`TunnelInfo::key`].
    pub fn key(mut self, key: impl Into<Box<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the label of the tunnel, a text for operators, in [`TunnelInfo::label`].
    pub fn label(mut self, label: impl Into<Box<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the moment at which the tunnel is closed, such as the `exp` of a token: an
    /// [`Instant`](tokio::time::Instant) or a [`SystemTime`].
    ///
    /// A [forwarded](crate::ForwardHttp) request is cut off then, if its response has not ended.
    pub fn deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        self.deadline = Some(deadline.into().0);
        self
    }

    /// Sets the close frame that both sides get at the [deadline](Self::deadline); by default 1008,
    /// "deadline reached".
    pub fn deadline_frame(mut self, frame: CloseFrame) -> Self {
        self.deadline_frame = Some(frame);
        self
    }

    /// Sets a header of the upstream's request, in place of the client's; see [`UpstreamHeaders`].
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets headers of the upstream's request, beside those that were set before.
    pub fn headers(mut self, headers: &UpstreamHeaders) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Prefers the upstream of this name. While it cannot be used, or is full, the request goes to
    /// another.
    pub fn prefer_upstream(mut self, name: impl Into<Box<str>>) -> Self {
        self.preference.set_name(name.into());
        self
    }

    /// Prefers the upstreams whose [tag](crate::Upstream::tag) has this value; after several calls
    /// those that have all of the values. While none of them can be used, or all are full, the
    /// request goes to another. The load balancing policy picks among them.
    pub fn prefer_tag(mut self, tag: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.preference.add_tag(tag.into(), value.into());
        self
    }

    /// Sets the settings of the tunnel, in place of the layer's: other pings, limits or timeouts.
    /// Tunnels that share an `Arc` of them cost no memory for them, and ping at the same moments.
    ///
    /// Where TCP keep-alive is left to its default, such tunnels have it on both legs.
    pub fn tunnel(mut self, config: impl Into<Arc<TunnelConfig>>) -> Self {
        self.tunnel = Some(config.into());
        self
    }

    /// Sets how this tunnel gets another upstream when it loses its own, in place of the layer's
    /// [`reattach`](crate::ProxyLayer::reattach). Tunnels that share an `Arc` of the settings cost no
    /// memory for them.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::{
    ///     AuthorizationRequest, Pool, ProxyLayer, RequestOptions, matcher::path,
    ///     tunnel::reattach::Reattach,
    /// };
    ///
    /// # let pool = Pool::new(["ws://127.0.0.1:9"])?;
    /// // Only the sockets for live prices have no state that a new upstream would lack.
    /// let proxy = ProxyLayer::new(pool).authorize(async |request: AuthorizationRequest| {
    ///     let options = match request.owned_by(&path("/prices/*")) {
    ///         true => RequestOptions::new().reattach(Reattach::new()),
    ///         false => RequestOptions::new(),
    ///     };
    ///     Ok::<_, wsplice::Rejection>(options)
    /// });
    /// # let _ = proxy;
    /// # Ok::<(), wsplice::connect::InvalidAddress>(())
    /// ```
    pub fn reattach(mut self, reattach: impl Into<Arc<Reattach>>) -> Self {
        self.reattach = Some(ReattachChoice::With(reattach.into()));
        self
    }

    /// Lets this tunnel end when it loses its upstream, though the layer's tunnels get another one.
    pub fn without_reattach(mut self) -> Self {
        self.reattach = Some(ReattachChoice::Off);
        self
    }

    /// Adds a value of the host, which observers and the registry find by its type in
    /// [`TunnelInfo::value`]. It replaces one of the same type.
    pub fn value<V: Clone + Send + Sync + 'static>(mut self, value: V) -> Self {
        self.values.insert(value);
        self
    }

    pub(super) fn request_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) const fn tunnel_config(&self) -> Option<&Arc<TunnelConfig>> {
        self.tunnel.as_ref()
    }

    /// Returns the settings of reattachment for the tunnel, whose layer has these.
    pub(super) fn reattach_or<'a>(
        options: Option<&'a Self>,
        layer: Option<&'a Arc<Reattach>>,
    ) -> Option<&'a Arc<Reattach>> {
        match options.and_then(|options| options.reattach.as_ref()) {
            Some(ReattachChoice::With(own)) => Some(own),
            Some(ReattachChoice::Off) => None,
            None => layer,
        }
    }

    pub(super) const fn ends_at(&self) -> Option<Instant> {
        self.deadline
    }

    /// Puts the options into the extensions of a request, over those that are there.
    pub(super) fn install(self, head: &mut Parts) {
        let options = match head.extensions.remove::<Self>() {
            Some(before) => before.replaced_by(self),
            None => self,
        };
        head.extensions.insert(options);
    }

    /// Hands the options that concern the upstream to the stages that read them.
    pub(super) fn distribute(head: &mut Parts) {
        let Some(options) = head.extensions.get::<Self>() else {
            return;
        };
        let (given, preference) = (options.headers.clone(), options.preference.clone());
        if !given.headers().is_empty() {
            let headers: &mut UpstreamHeaders = head.extensions.get_or_insert_default();
            headers.extend(&given);
        }
        if !preference.is_empty() {
            head.extensions.insert(preference);
        }
    }

    /// Attaches the options that concern the tunnel to its facts.
    pub(super) fn describe(&self, info: &mut TunnelInfo) {
        if let Some(key) = &self.key {
            info.set_key(key.clone());
        }
        if let Some(label) = &self.label {
            info.set_label(label.clone());
        }
        if let Some(deadline) = self.deadline {
            info.set_deadline(deadline, self.deadline_frame.clone());
        }
        if !self.values.is_empty() {
            info.set_values(self.values.clone());
        }
    }

    fn replaced_by(mut self, newer: Self) -> Self {
        self.headers.extend(&newer.headers);
        self.values.extend(newer.values);
        Self {
            key: newer.key.or(self.key),
            label: newer.label.or(self.label),
            deadline: newer.deadline.or(self.deadline),
            deadline_frame: newer.deadline_frame.or(self.deadline_frame),
            headers: self.headers,
            preference: newer.preference.or(self.preference),
            tunnel: newer.tunnel.or(self.tunnel),
            reattach: newer.reattach.or(self.reattach),
            values: self.values,
        }
    }
}

/// Options that change nothing, for functions that return none.
impl From<()> for RequestOptions {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Self(at)
    }
}

impl From<std::time::Instant> for Deadline {
    fn from(at: std::time::Instant) -> Self {
        Self(at.into())
    }
}

impl From<SystemTime> for Deadline {
    fn from(at: SystemTime) -> Self {
        let left = at.duration_since(SystemTime::now()).unwrap_or_default();
        Self(saturating_add(Instant::now(), left))
    }
}

/// Leaves out the values of headers and the values of the host, which may be secret.
impl fmt::Debug for RequestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestOptions")
            .field("key", &self.key)
            .field("label", &self.label)
            .field("deadline", &self.deadline)
            .field("headers", &self.headers)
            .field("preference", &self.preference)
            .field("reattach", &self.reattach)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    fn head() -> Parts {
        Request::new(()).into_parts().0
    }

    fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    }

    #[test]
    fn a_later_option_replaces_an_earlier_one_and_leaves_the_others() {
        let mut head = head();
        let (name, value) = header("x-user", "eve");
        let middleware = RequestOptions::new().key("eve").label("web");
        middleware
            .header(name, value)
            .value(7_u8)
            .install(&mut head);
        let (name, value) = header("x-user", "alice");
        let hook = RequestOptions::new().key("alice").header(name, value);
        hook.value("seven").install(&mut head);
        RequestOptions::distribute(&mut head);

        let mut info = TunnelInfo::new("a:80", "/");
        let options = head.extensions.get::<RequestOptions>().unwrap();
        options.describe(&mut info);
        assert_eq!((info.key(), info.label()), (Some("alice"), Some("web")));
        assert_eq!((info.value(), info.value()), (Some(&7_u8), Some(&"seven")));
        let given = head.extensions.get::<UpstreamHeaders>().unwrap();
        assert_eq!(given.headers()["x-user"], "alice");
    }

    #[test]
    fn options_that_change_nothing_leave_nothing() {
        let mut head = head();
        RequestOptions::distribute(&mut head);
        assert!(head.extensions.is_empty());
        let mut info = TunnelInfo::new("a:80", "/");
        RequestOptions::from(()).describe(&mut info);
        assert_eq!(
            (info.key(), info.label(), info.deadline()),
            (None, None, None)
        );
    }

    #[test]
    fn a_time_of_the_wall_clock_may_be_past_or_far_away() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let past = Deadline::from(SystemTime::UNIX_EPOCH);
        assert!(past.0 >= now && past.0 < now + hour);
        let soon = Deadline::from(SystemTime::now() + hour);
        assert!(soon.0 > now + hour / 2 && soon.0 < now + 2 * hour);
        let never = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(Deadline::from(never).0 > now + 1000 * hour);
    }
}
