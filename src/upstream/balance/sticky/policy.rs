//! Sticky-session policy.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header::SET_COOKIE};

use crate::{
    http::{head::RequestHead, headers::ClientScheme},
    upstream::balance::{
        any_balance::AnyBalance,
        candidates::{Candidate, Candidates},
        cookies,
        least_tunnels::LeastTunnels,
        policy::Balance,
    },
};

use super::{
    cookie_settings::{CookieSettings, InvalidSticky, SameSite, Secure},
    token::Tokens,
};

/// Sticky-session policy: sends a returning client to its previous upstream, by a cookie.
///
/// The cookie identifies the upstream by an HMAC-SHA-256 of its [name](crate::Upstream::name): it
/// reveals nothing to a client, and a client cannot make one for an upstream of its choice. A
/// cookie that is forged, signed with another key, or names an upstream that is gone or unusable is
/// ignored. Then the [`fallback`](Self::fallback) policy picks, [`LeastTunnels`] by default, and
/// the response sets a new cookie, be it the 101 or the upstream's refusal.
///
/// The cookie is set with `Path=/`, `HttpOnly`, `SameSite=Lax` and, if the client is known to use
/// TLS, with `Secure`. Upstreams see it among the client's other cookies.
///
/// Proxies with the same key accept each other's cookies; a new key invalidates all of them.
///
/// # Defaults
///
/// | method | default | unit | why |
/// |---|---|---|---|
/// | [`fallback`](Self::fallback) | [`LeastTunnels`] | | the default of a pool |
/// | [`same_site`](Self::same_site) | [`SameSite::Lax`] | | other sites' pages must not use the session |
/// | [`always_secure`](Self::always_secure) | off | | `Secure` is set if the client uses TLS |
/// | [`max_age`](Self::max_age) | none | seconds | the cookie ends with the browser session |
///
/// # Examples
///
/// ```
/// use wsplice::{Pool, balance::Sticky};
///
/// # let secret = [7; 32];
/// let pool = Pool::new(["ws://10.0.0.1:8080", "ws://10.0.0.2:8080"])?
///     .balance(Sticky::new("upstream", secret)?);
///
/// assert!(Sticky::new("upstream", "too short").is_err());
/// # let _ = pool;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Sticky {
    settings: CookieSettings,
    tokens: Tokens,
    fallback: AnyBalance,
}

/// RFC 2104 §3 discourages keys that are shorter than the hash.
const MIN_KEY_LEN: usize = 32;

/// Number of cookies of this name that are examined. A browser sends one; each costs two HMACs.
const MAX_COOKIES: usize = 4;

impl Sticky {
    /// Creates the policy with a cookie of this name, under this secret key: at least 32 bytes from
    /// a good source of randomness.
    ///
    /// # Errors
    ///
    /// The name is not a valid cookie name, or the key is too short.
    pub fn new(cookie: &str, key: impl AsRef<[u8]>) -> Result<Self, InvalidSticky> {
        let settings = CookieSettings::new(cookie)?;
        let key = key.as_ref();
        if key.len() < MIN_KEY_LEN {
            return Err(InvalidSticky::Key(key.len()));
        }
        let tokens = Tokens::new(key).ok_or(InvalidSticky::Key(key.len()))?;
        Ok(Self {
            settings,
            tokens,
            fallback: AnyBalance::new(LeastTunnels::new()),
        })
    }

    /// Sets the policy that picks if no cookie names a usable upstream.
    pub fn fallback(mut self, policy: impl Balance + 'static) -> Self {
        self.fallback = AnyBalance::new(policy);
        self
    }

    /// Sets the cross-site requests with which browsers send the cookie; [`SameSite::Lax`] by
    /// default.
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.settings.same_site = same_site;
        self
    }

    /// Sets `Secure` even if the proxy does not know that the client uses TLS.
    pub fn always_secure(mut self) -> Self {
        self.settings.secure = Secure::Always;
        self
    }

    /// Sets how long browsers keep the cookie, in whole seconds; until they are closed by default.
    pub fn max_age(mut self, max_age: impl Into<Option<Duration>>) -> Self {
        self.settings.max_age = max_age.into();
        self
    }

    fn tokens_in<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
        cookies::values(headers, &self.settings.name).take(MAX_COOKIES)
    }
}

impl Balance for Sticky {
    fn pick(&self, candidates: &Candidates<'_>, request: &RequestHead<'_>) -> Option<usize> {
        self.tokens_in(request.headers())
            .find_map(|token| self.tokens.find(token, candidates))
            .or_else(|| self.fallback.pick(candidates, request))
    }

    /// Returns the cookie, unless the request has it already.
    fn response_header(
        &self,
        picked: &Candidate<'_>,
        request: &RequestHead<'_>,
        scheme: ClientScheme,
    ) -> Option<(HeaderName, HeaderValue)> {
        let mut tokens = self.tokens_in(request.headers());
        if tokens.any(|token| self.tokens.matches(token, picked)) {
            return None;
        }
        let line = self.settings.line(&self.tokens.encode(picked), scheme)?;
        Some((SET_COOKIE, line))
    }
}

/// Leaves out the key.
impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sticky")
            .field("settings", &self.settings)
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::{
        First, MockCandidates,
        testing::{assert_shares, mock, picks},
    };

    const HTTP: ClientScheme = ClientScheme::Http;

    fn sticky(key: u8) -> Sticky {
        Sticky::new("up", [key; 32]).unwrap()
    }

    fn second(_: &Candidates<'_>, _: &RequestHead<'_>) -> Option<usize> {
        Some(1)
    }

    /// Returns the pick for a request with this `Cookie` line, and the cookie of the response.
    fn response(policy: &Sticky, mock: &MockCandidates, cookie: &str) -> (usize, Option<String>) {
        let request = http::Request::get("/")
            .header("cookie", cookie)
            .body(())
            .unwrap();
        let head = RequestHead::from(&request);
        let index = policy.pick(&mock.candidates(), &head).unwrap();
        let picked = mock.candidates().get(index).unwrap();
        let set = policy
            .response_header(&picked, &head, HTTP)
            .map(|(name, line)| {
                assert_eq!(name, SET_COOKIE);
                let line = line.to_str().unwrap();
                line.split(';').next().unwrap().to_owned()
            });
        (index, set)
    }

    #[test]
    fn a_client_that_comes_back_finds_its_upstream() {
        let mock = mock(&[1, 1, 1]);
        let policy = sticky(1).fallback(second);
        let (index, set) = response(&policy, &mock, "");
        assert_eq!(index, 1);
        let cookie = format!("a=b; {}; c=d", set.unwrap());
        let elsewhere = sticky(1).fallback(First::new());
        assert_eq!(response(&elsewhere, &mock, &cookie), (1, None));
    }

    #[test]
    fn a_cookie_of_no_upstream_is_replaced() {
        let mock = mock(&[1, 1]);
        let good = response(&sticky(1).fallback(second), &mock, "").1.unwrap();
        let of_another_key = response(&sticky(2).fallback(second), &mock, "").1.unwrap();
        let truncated = &good[..good.len() - 1];
        for bad in [
            "up=",
            "up",
            "up=u1:80",
            &of_another_key,
            truncated,
            &good.to_uppercase(),
        ] {
            let (index, set) = response(&sticky(1).fallback(First::new()), &mock, bad);
            assert_eq!(index, 0, "{bad}");
            assert!(set.unwrap().starts_with("up="), "{bad}");
        }
    }

    #[test]
    fn where_the_upstream_is_gone_another_is_named() {
        let cookie = response(&sticky(1).fallback(second), &mock(&[1, 1]), "")
            .1
            .unwrap();
        for fewer in [mock(&[1]), mock(&[1, 0])] {
            let policy = sticky(1);
            let (index, set) = response(&policy, &fewer, &cookie);
            assert_eq!(index, 0);
            let set = set.unwrap();
            assert_ne!(set, cookie);
            assert_eq!(response(&policy, &fewer, &set), (0, None));
        }
    }

    #[test]
    fn the_first_valid_cookie_of_several_is_taken() {
        let mock = mock(&[1, 1]);
        let policy = sticky(1).fallback(First::new());
        let of_second = response(&sticky(1).fallback(second), &mock, "").1.unwrap();
        let of_first = response(&policy, &mock, "").1.unwrap();
        let cookies = format!("up=x; {of_second}; {of_first}");
        assert_eq!(response(&policy, &mock, &cookies), (1, None));
        let flood = "up=x; ".repeat(MAX_COOKIES) + &of_second;
        assert_eq!(response(&policy, &mock, &flood).0, 0);
    }

    #[test]
    fn new_clients_are_spread_by_the_fallback() {
        fastrand::seed(16);
        let mock = mock(&[1, 0, 1, 1]);
        assert_shares(&picks(&sticky(1), &mock, 100_000), &[1., 0., 1., 1.]);
    }

    #[test]
    fn a_short_key_is_refused_and_none_is_shown() {
        assert_eq!(Sticky::new("up", "").unwrap_err(), InvalidSticky::Key(0));
        let error = Sticky::new("up", [7; 31]).unwrap_err();
        assert!(error.to_string().contains("31"), "{error}");
        let shown = format!("{:?}", Sticky::new("up", "k".repeat(32)).unwrap());
        assert!(shown.contains("up") && !shown.contains("kkk"), "{shown}");
    }
}
