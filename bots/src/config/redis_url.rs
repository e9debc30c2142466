//! A Redis URL as configuration holds it: never printed with its credentials.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A Redis URL that shows everything but its credentials.
///
/// Reading one never fails, so that no parser can echo it; [`Config::load`] checks it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RedisUrl(pub(super) String);

impl RedisUrl {
    /// The URL with its credentials, for the client library only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Names what is wrong with the URL's outer form; the core checks the rest.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return Some("there is no `://`");
        };
        match scheme {
            "redis" | "rediss" if rest.is_empty() || rest.starts_with('/') => {
                Some("the host is missing")
            }
            "redis" | "rediss" | "redis+unix" | "unix" => None,
            _ => Some("the scheme is not redis or rediss"),
        }
    }
}

impl FromStr for RedisUrl {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Infallible> {
        Ok(Self(url.trim().to_owned()))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL whose form is not understood may hold a password anywhere.
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str("***");
        };
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, ""), |(r, _)| (r, "?***"));
        match rest.rsplit_once('@') {
            Some((_, place)) => write!(f, "{scheme}://***@{place}{query}"),
            None => write!(f, "{scheme}://{rest}{query}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
