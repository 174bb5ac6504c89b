//! Whatever names a control socket.

use std::io;
use std::path::{Path, PathBuf};

use crate::socket::{Address, AddressError};

/// Whatever names a control socket: a path, `@name` for an abstract name, `seqpacket:...`, or an [`Address`].
///
/// Text is a path unless it begins with `@` or `seqpacket:`; a path that does is written `./@name`. A [`Path`] is never anything
/// else.
///
/// ```
/// use campana::Address;
/// use campana::control::ToControlAddress;
///
/// let expected: Address = "seqpacket:/run/app.sock".parse()?;
/// assert_eq!("/run/app.sock".to_control_address()?, expected);
/// assert_eq!("seqpacket:/run/app.sock".to_control_address()?, expected);
/// assert_eq!("@app".to_control_address()?, Address::seqpacket_abstract("app")?);
/// assert!("unix:/run/app.sock".to_control_address().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ToControlAddress {
    /// The address, which is that of a Unix `SOCK_SEQPACKET` socket.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is the address of another kind of socket, or none at all; then with an
    /// [`AddressError`] inside.
    fn to_control_address(&self) -> io::Result<Address>;
}

impl ToControlAddress for Address {
    fn to_control_address(&self) -> io::Result<Address> {
        if self.is_packet() { Ok(self.clone()) } else { Err(other_kind(self)) }
    }
}

impl ToControlAddress for str {
    fn to_control_address(&self) -> io::Result<Address> {
        if let Some(name) = self.strip_prefix('@') {
            return Ok(Address::seqpacket_abstract(name)?);
        }
        if self.starts_with("seqpacket:") {
            return Ok(self.parse::<Address>()?);
        }
        if self.starts_with("unix:") {
            return Err(other_kind(self));
        }
        Path::new(self).to_control_address()
    }
}

impl ToControlAddress for String {
    fn to_control_address(&self) -> io::Result<Address> {
        self.as_str().to_control_address()
    }
}

impl ToControlAddress for Path {
    fn to_control_address(&self) -> io::Result<Address> {
        Address::seqpacket_path(self).map_err(AddressError::into)
    }
}

impl ToControlAddress for PathBuf {
    fn to_control_address(&self) -> io::Result<Address> {
        self.as_path().to_control_address()
    }
}

impl<T: ToControlAddress + ?Sized> ToControlAddress for &T {
    fn to_control_address(&self) -> io::Result<Address> {
        (**self).to_control_address()
    }
}

fn other_kind(address: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "{address} is no address of a control socket: write a path, @name, or seqpacket: before either"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_path_whatever_it_looks_like() {
        for path in ["@name", "seqpacket:x", "unix:x", "127.0.0.1:80"] {
            let expected = Address::seqpacket_path(path).unwrap();
            assert_eq!(Path::new(path).to_control_address().unwrap(), expected);
            assert_eq!(PathBuf::from(path).to_control_address().unwrap(), expected);
        }
        assert_eq!("./@name".to_control_address().unwrap(), Address::seqpacket_path("./@name").unwrap());
    }

    #[test]
    fn text_names_paths_and_abstract_names() {
        let named = Address::seqpacket_abstract("app").unwrap();
        assert_eq!("@app".to_control_address().unwrap(), named);
        assert_eq!(String::from("seqpacket:@app").to_control_address().unwrap(), named);
        assert_eq!((&&named).to_control_address().unwrap(), named);
    }

    #[test]
    fn what_keeps_no_packets_apart_is_refused_with_advice() {
        let stream = Address::unix_path("/run/app.sock").unwrap();
        let inet: Address = "127.0.0.1:80".parse().unwrap();
        let errors = [
            stream.to_control_address().unwrap_err(),
            inet.to_control_address().unwrap_err(),
            "unix:/run/app.sock".to_control_address().unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("write a path, @name"), "{error}");
        }
    }

    #[test]
    fn an_empty_name_is_refused() {
        for name in ["", "@", "seqpacket:", "seqpacket:@"] {
            assert_eq!(name.to_control_address().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
