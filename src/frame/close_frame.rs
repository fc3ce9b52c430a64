//! The code and reason of a close frame.

use std::borrow::Cow;

use super::close_code::CloseCode;

/// The code and reason of a close frame that is to be sent.
///
/// # Examples
///
/// ```
/// use wsplice::frame::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, "back in a minute");
/// assert_eq!(frame.code.as_u16(), 1012);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseFrame {
    /// The status code. With one that must not be sent (RFC 6455 §7.4.1) the frame is empty.
    pub code: CloseCode,
    /// The reason, cut to the 123 bytes that fit.
    pub reason: Cow<'static, str>,
}

impl CloseFrame {
    /// A close frame with this code and reason.
    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}
