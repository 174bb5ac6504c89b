//! Lists of who is let in and who isn't.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use super::{AddressBlock, AddressBlockError};
use crate::socket::Address;

/// Who is let in and who isn't: of the rules for IP addresses the first that fits holds, and the default if none does. Unix peers
/// are one group, let in unless something else is said.
///
/// As a text it is a rule a line, and there has to be a default, as a list that is silent about the rest could mean either:
///
/// ```
/// use campana::session::filters::AddressList;
///
/// let list: AddressList = "
///     deny  192.0.2.128/25      # the guests' network
///     allow 192.0.2.0/24
///     allow 2001:db8:1::/48
///     deny  unix
///     default deny
/// ".parse()?;
/// assert!(list.allows(&"192.0.2.7:5000".parse()?));
/// assert!(!list.allows(&"192.0.2.200:5000".parse()?));
/// assert!(!list.allows(&"198.51.100.1:5000".parse()?));
///
/// let error = "allow 192.0.2.0/24\nalow 192.0.2.1\ndefault deny".parse::<AddressList>().unwrap_err();
/// assert_eq!(error.to_string(), "line 2: `alow`: a line begins with allow, deny or default");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// In a program:
///
/// ```
/// use campana::session::filters::AddressList;
///
/// let list = AddressList::deny_by_default().allow("192.0.2.0/24".parse()?).allow_unix(false);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The rules are looked at one after the other, once for each connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressList {
    rules: Vec<(AddressBlock, Access)>,
    default: Access,
    unix: Access,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Allow,
    Deny,
}

impl AddressList {
    /// A list without rules, which lets everyone in.
    #[must_use]
    pub const fn allow_by_default() -> Self {
        Self { rules: Vec::new(), default: Access::Allow, unix: Access::Allow }
    }

    /// A list without rules, which lets no one in but Unix peers.
    #[must_use]
    pub const fn deny_by_default() -> Self {
        Self { rules: Vec::new(), default: Access::Deny, unix: Access::Allow }
    }

    /// Lets a block in, unless a rule before this one says otherwise.
    #[must_use]
    pub fn allow(mut self, block: AddressBlock) -> Self {
        self.rules.push((block, Access::Allow));
        self
    }

    /// Keeps a block out, unless a rule before this one says otherwise.
    #[must_use]
    pub fn deny(mut self, block: AddressBlock) -> Self {
        self.rules.push((block, Access::Deny));
        self
    }

    /// Whether Unix peers are let in. Default: they are; who they are their
    /// [credentials](crate::session::SessionView::peer_credentials) tell.
    #[must_use]
    pub const fn allow_unix(mut self, allowed: bool) -> Self {
        self.unix = if allowed { Access::Allow } else { Access::Deny };
        self
    }

    /// Whether a peer of this address is let in.
    #[must_use]
    pub fn allows(&self, peer: &Address) -> bool {
        let access = match peer.ip() {
            None => self.unix,
            Some(ip) => {
                let rule = self.rules.iter().find(|(block, _)| block.contains(ip));
                rule.map_or(self.default, |&(_, access)| access)
            }
        };
        access == Access::Allow
    }
}

impl FromStr for AddressList {
    type Err = AddressListError;

    fn from_str(text: &str) -> Result<Self, AddressListError> {
        let mut rules = Vec::new();
        let (mut default, mut unix) = (None, None);
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            let (Some(second), None) = (words.next(), words.next()) else {
                return Err(AddressListError::NotTwoWords { line: number });
            };
            let twice = |what| Err(AddressListError::Twice { line: number, what });
            if first == "default" {
                let Some(access) = access(second) else {
                    return Err(AddressListError::NoSuchDefault { line: number, word: second.to_owned() });
                };
                if default.replace(access).is_some() {
                    return twice("default");
                }
                continue;
            }
            let Some(access) = access(first) else {
                return Err(AddressListError::NoSuchRule { line: number, word: first.to_owned() });
            };
            if second == "unix" {
                if unix.replace(access).is_some() {
                    return twice("unix");
                }
                continue;
            }
            match second.parse() {
                Ok(block) => rules.push((block, access)),
                Err(error) => return Err(AddressListError::Block { line: number, error }),
            }
        }
        let Some(default) = default else { return Err(AddressListError::NoDefault) };
        Ok(Self { rules, default, unix: unix.unwrap_or(Access::Allow) })
    }
}

fn access(word: &str) -> Option<Access> {
    match word {
        "allow" => Some(Access::Allow),
        "deny" => Some(Access::Deny),
        _ => None,
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (block, access) in &self.rules {
            writeln!(f, "{access} {block}")?;
        }
        writeln!(f, "{} unix", self.unix)?;
        writeln!(f, "default {}", self.default)
    }
}

/// Why a text is no list of addresses. Lines are counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AddressListError {
    /// A rule is two words.
    NotTwoWords {
        /// Where.
        line: usize,
    },
    /// A line begins with a word that means nothing.
    NoSuchRule {
        /// Where.
        line: usize,
        /// The word.
        word: String,
    },
    /// The default is neither to allow nor to deny.
    NoSuchDefault {
        /// Where.
        line: usize,
        /// The word.
        word: String,
    },
    /// What a rule is for is no block of addresses.
    Block {
        /// Where.
        line: usize,
        /// What is wrong with it.
        error: AddressBlockError,
    },
    /// What can be said only once is said again.
    Twice {
        /// Where.
        line: usize,
        /// What.
        what: &'static str,
    },
    /// Nothing is said about who is in no block.
    NoDefault,
}

impl fmt::Display for AddressListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTwoWords { line } => {
                write!(f, "line {line}: a rule is two words, as `allow 192.0.2.0/24` or `default deny`")
            }
            Self::NoSuchRule { line, word } => {
                write!(f, "line {line}: `{word}`: a line begins with allow, deny or default")
            }
            Self::NoSuchDefault { line, word } => {
                write!(f, "line {line}: `{word}`: the default is allow or deny")
            }
            Self::Block { line, error } => write!(f, "line {line}: {error}"),
            Self::Twice { line, what } => write!(f, "line {line}: {what} was said before"),
            Self::NoDefault => {
                f.write_str("nothing is said about the rest: add a line `default allow` or `default deny`")
            }
        }
    }
}

impl Error for AddressListError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Block { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> AddressList {
        text.parse().unwrap()
    }

    fn allows(list: &AddressList, peer: &str) -> bool {
        list.allows(&peer.parse().unwrap())
    }

    #[test]
    fn the_first_rule_that_fits_holds() {
        let list = list("allow 192.0.2.1\ndeny 192.0.2.0/24\nallow 192.0.0.0/16\ndefault deny");
        let peers = ["192.0.2.1:1", "[::ffff:192.0.2.1]:1", "192.0.2.2:1", "192.0.3.1:1", "192.1.0.0:1"];
        assert_eq!(peers.map(|peer| allows(&list, peer)), [true, true, false, true, false]);
    }

    #[test]
    fn the_default_holds_for_both_kinds_of_addresses_and_not_for_unix_peers() {
        for peer in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            assert!(allows(&AddressList::allow_by_default(), peer));
            assert!(!allows(&AddressList::deny_by_default(), peer));
        }
        assert!(allows(&AddressList::deny_by_default(), "unix:/run/peer"));
        assert!(!allows(&AddressList::allow_by_default().allow_unix(false), "seqpacket:/run/peer"));
        assert!(!allows(&list("default allow\ndeny unix"), "unix:/run/peer"));
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("", "nothing is said about the rest: add a line `default allow` or `default deny`"),
            ("\nallow", "line 2: a rule is two words, as `allow 192.0.2.0/24` or `default deny`"),
            (
                "allow ::1 # fine\ndeny ::1 ::2",
                "line 2: a rule is two words, as `allow 192.0.2.0/24` or `default deny`",
            ),
            ("Allow ::1", "line 1: `Allow`: a line begins with allow, deny or default"),
            ("default refuse", "line 1: `refuse`: the default is allow or deny"),
            ("default allow\ndefault deny", "line 2: default was said before"),
            ("deny unix\nallow unix", "line 2: unix was said before"),
            ("deny 10.0.0.0/33", "line 1: 10.0.0.0/33: an address of this kind has 32 bits"),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<AddressList>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_list_is_shown_as_a_text_that_means_the_same() {
        let list = list("deny 10.0.0.0/8\nallow 2001:db8::/32\ndeny unix\ndefault allow");
        assert_eq!(list.to_string().parse(), Ok(list));
    }
}
