//! Whatever names an address by itself.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::address::Address;

/// Whatever names an [`Address`] by itself: text, `std`'s socket addresses, an address.
///
/// Text has to be a literal address. Looking up a host name blocks, so it happens elsewhere, off
/// the event loop.
///
/// ```
/// use campana::socket::ToAddress;
///
/// assert_eq!("127.0.0.1:80".to_address()?, ([127, 0, 0, 1].into(), 80).to_address()?);
/// assert!("localhost:80".to_address().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) with an [`AddressError`](super::AddressError) inside.
    fn to_address(&self) -> io::Result<Address>;
}

impl ToAddress for Address {
    fn to_address(&self) -> io::Result<Address> {
        Ok(self.clone())
    }
}

impl ToAddress for str {
    fn to_address(&self) -> io::Result<Address> {
        Ok(self.parse()?)
    }
}

impl ToAddress for String {
    fn to_address(&self) -> io::Result<Address> {
        Ok(self.parse()?)
    }
}

impl ToAddress for SocketAddr {
    fn to_address(&self) -> io::Result<Address> {
        Ok(Address::Inet(*self))
    }
}

impl ToAddress for SocketAddrV4 {
    fn to_address(&self) -> io::Result<Address> {
        Ok(Address::Inet((*self).into()))
    }
}

impl ToAddress for SocketAddrV6 {
    fn to_address(&self) -> io::Result<Address> {
        Ok(Address::Inet((*self).into()))
    }
}

impl ToAddress for (IpAddr, u16) {
    fn to_address(&self) -> io::Result<Address> {
        Ok(Address::Inet((*self).into()))
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> io::Result<Address> {
        (**self).to_address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_or_a_missing_port_is_explained() {
        let error = "localhost:80".to_address().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("host name"));
        let error = "::1".to_address().unwrap_err();
        assert!(error.to_string().contains("write [::1]:80"), "{error}");
    }

    #[test]
    fn everything_that_names_an_address_converts() {
        let expected: Address = "127.0.0.1:80".parse().unwrap();
        let inet: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let SocketAddr::V4(v4) = inet else {
            panic!("an IPv4 address was parsed");
        };
        assert_eq!(String::from("127.0.0.1:80").to_address().unwrap(), expected);
        assert_eq!(inet.to_address().unwrap(), expected);
        assert_eq!(v4.to_address().unwrap(), expected);
        assert_eq!((inet.ip(), 80).to_address().unwrap(), expected);
        assert_eq!((&&expected).to_address().unwrap(), expected);
        assert_eq!(Address::from(inet), expected);
    }
}
