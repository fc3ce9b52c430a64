//! Expectations that are regular expressions.

use std::{error, fmt, sync::Arc};

use regex::bytes::Regex;

use crate::error::display_error;

use super::{expect::Expect, http::HttpProbe, websocket::WebSocketProbe};

/// Error of an expectation that is not a valid regular expression. The source is the error of the
/// parser.
#[derive(Clone, Debug)]
pub struct InvalidExpectation {
    source: regex::Error,
}

impl HttpProbe {
    /// Expects that an expression, in the syntax of the `regex` crate, matches somewhere in the
    /// body, within the [limit](Self::body_limit).
    ///
    /// # Errors
    ///
    /// The expression does not compile, or would be too large.
    ///
    /// # Examples
    ///
    /// ```
    /// use wsplice::health::probe::HttpProbe;
    ///
    /// let probe = HttpProbe::get("/health").expect_body_match(r#""status":\s*"(ok|degraded)""#)?;
    /// assert!(HttpProbe::get("/health").expect_body_match("(").is_err());
    /// # Ok::<(), wsplice::health::probe::InvalidExpectation>(())
    /// ```
    pub fn expect_body_match(self, expression: &str) -> Result<Self, InvalidExpectation> {
        Ok(self.expecting(compile(expression)?))
    }
}

impl WebSocketProbe {
    /// Expects that an expression, in the syntax of the `regex` crate, matches somewhere in the
    /// text; see [`expect_text`](Self::expect_text).
    ///
    /// # Errors
    ///
    /// The expression does not compile, or would be too large.
    pub fn expect_text_match(self, expression: &str) -> Result<Self, InvalidExpectation> {
        Ok(self.expecting(compile(expression)?))
    }
}

fn compile(expression: &str) -> Result<Arc<dyn Expect>, InvalidExpectation> {
    match Regex::new(expression) {
        Ok(regex) => Ok(Arc::new(Matching(regex))),
        Err(source) => Err(InvalidExpectation { source }),
    }
}

#[derive(Debug)]
struct Matching(Regex);

impl Expect for Matching {
    fn accepts(&self, response: &[u8]) -> bool {
        self.0.is_match(response)
    }
}

impl fmt::Display for InvalidExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display_error(self, f, |f| {
            f.write_str("the expected expression does not compile")
        })
    }
}

impl error::Error for InvalidExpectation {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}
