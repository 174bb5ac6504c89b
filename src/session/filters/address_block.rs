//! Blocks of IP addresses.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of IP addresses in the notation of CIDR, `192.0.2.0/24` or `2001:db8::/32`; a single address is a block as well.
///
/// IPv4 and IPv6 are two worlds: `0.0.0.0/0` is all of IPv4, `::/0` all of IPv6. An IPv4 address that a socket for both reports as
/// `::ffff:192.0.2.1` is one of IPv4, in blocks and in what is looked up.
///
/// ```
/// use campana::session::filters::AddressBlock;
///
/// let block: AddressBlock = "192.0.2.0/24".parse()?;
/// assert!(block.contains("192.0.2.77".parse()?));
/// assert!(block.contains("::ffff:192.0.2.77".parse()?));
/// assert!(!block.contains("192.0.3.1".parse()?));
///
/// let error = "192.0.2.1/24".parse::<AddressBlock>().unwrap_err();
/// assert_eq!(error.to_string(), "192.0.2.1/24 has bits beyond its prefix: write 192.0.2.0/24, or 192.0.2.1 for that address alone");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressBlock {
    first: IpAddr,
    prefix: u8,
}

impl AddressBlock {
    /// The block of all addresses whose first `prefix` bits are those of `first`.
    ///
    /// # Errors
    ///
    /// If the prefix is longer than an address, or `first` is not the first address of the block.
    pub fn new(first: IpAddr, prefix: u8) -> Result<Self, AddressBlockError> {
        let max = width(first);
        if prefix > max {
            return Err(AddressBlockError::PrefixTooLong { first, prefix, max });
        }
        let start = mask(first, prefix);
        if start != first {
            return Err(AddressBlockError::NotTheFirst { given: first, first: start, prefix });
        }
        // The part of IPv6 that holds the addresses of IPv4 has 96 bits in front of them.
        let (first, prefix) = match (first.to_canonical(), prefix.checked_sub(96)) {
            (IpAddr::V4(first), Some(shorter)) if width(start) == 128 => (IpAddr::V4(first), shorter),
            _ => (first, prefix),
        };
        Ok(Self { first, prefix })
    }

    /// Whether an address is in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && mask(address, self.prefix) == self.first
    }

    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// How many bits all addresses of the block have in common.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits behind a prefix set to zero. The prefix fits the address.
pub(super) fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl From<IpAddr> for AddressBlock {
    fn from(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, prefix: width(first) }
    }
}

impl FromStr for AddressBlock {
    type Err = AddressBlockError;

    fn from_str(text: &str) -> Result<Self, AddressBlockError> {
        let not_an_address = || AddressBlockError::NotAnAddress { text: text.to_owned() };
        let Some((first, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| not_an_address());
        };
        let first = first.parse().map_err(|_| not_an_address())?;
        // Digits alone: `parse` would take a plus sign.
        match prefix.parse() {
            Ok(prefix) if text.ends_with(|last: char| last.is_ascii_digit()) && !text.contains('+') => {
                Self::new(first, prefix)
            }
            _ => Err(AddressBlockError::NotAPrefix { text: text.to_owned(), max: width(first) }),
        }
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.first) {
            self.first.fmt(f)
        } else {
            write!(f, "{}/{}", self.first, self.prefix)
        }
    }
}

impl fmt::Debug for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why something is no block of addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AddressBlockError {
    /// What ought to be an IP address isn't one.
    NotAnAddress {
        /// The whole text.
        text: String,
    },
    /// What comes after the slash is no number of bits.
    NotAPrefix {
        /// The whole text.
        text: String,
        /// The largest number that there may be.
        max: u8,
    },
    /// An address has fewer bits.
    PrefixTooLong {
        /// The address.
        first: IpAddr,
        /// The prefix.
        prefix: u8,
        /// How many bits it has.
        max: u8,
    },
    /// The address has bits that are not in the prefix.
    NotTheFirst {
        /// The address.
        given: IpAddr,
        /// The one that is the first of its block.
        first: IpAddr,
        /// The prefix.
        prefix: u8,
    },
}

impl fmt::Display for AddressBlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnAddress { text } => {
                write!(
                    f,
                    "`{text}` is no IP address and no block: write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
                )
            }
            Self::NotAPrefix { text, max } => {
                write!(f, "`{text}`: after the slash there has to be a number from 0 to {max}")
            }
            Self::PrefixTooLong { first, prefix, max } => {
                write!(f, "{first}/{prefix}: an address of this kind has {max} bits")
            }
            Self::NotTheFirst { given, first, prefix } => write!(
                f,
                "{given}/{prefix} has bits beyond its prefix: write {first}/{prefix}, or {given} for that address alone"
            ),
        }
    }
}

impl Error for AddressBlockError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> AddressBlock {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_holds_what_shares_its_prefix() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.0", true),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.2", false),
            ("::1/128", "::1", true),
        ];
        for (text, address, is_in) in cases {
            assert_eq!(block(text).contains(ip(address)), is_in, "{address} in {text}");
        }
    }

    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        assert!(block("192.0.2.0/24").contains(ip("::ffff:192.0.2.1")));
        assert_eq!(block("::ffff:192.0.2.0/120"), block("192.0.2.0/24"));
        assert_eq!(block("::ffff:0:0/96"), block("0.0.0.0/0"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert!(!block("::/0").contains(ip("::ffff:192.0.2.1")));
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        let cases = [
            (
                "192.0.2",
                "`192.0.2` is no IP address and no block: write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32",
            ),
            ("192.0.2.0/33", "192.0.2.0/33: an address of this kind has 32 bits"),
            ("192.0.2.0/", "`192.0.2.0/`: after the slash there has to be a number from 0 to 32"),
            ("::/+1", "`::/+1`: after the slash there has to be a number from 0 to 128"),
            ("::/1000", "`::/1000`: after the slash there has to be a number from 0 to 128"),
            ("192.0.2.0/-1", "`192.0.2.0/-1`: after the slash there has to be a number from 0 to 32"),
            (
                "2001:db8::1/32",
                "2001:db8::1/32 has bits beyond its prefix: write 2001:db8::/32, or 2001:db8::1 for that address alone",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<AddressBlock>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_block_reads_as_it_is_written() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "192.0.2.1", "::1"] {
            assert_eq!(block(text).to_string(), text);
        }
    }
}
