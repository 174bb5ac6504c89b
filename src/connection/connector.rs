//! Establishing a connection: names, addresses one after the other, deadlines, and when to try again.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use crate::socket::{Address, AddressError, ToAddress};

/// Whom a client connects to: an address, or a host name with a port that is looked up for each attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Endpoint {
    /// A literal address.
    Address(Address),
    /// A host name and a port, such as `example.com:80`.
    Host(String, u16),
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let literal = text.parse();
        let host_and_port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match (literal, host_and_port) {
            (Ok(address), _) => Ok(Self::Address(address)),
            (Err(AddressError::NotLiteral { .. }), Some((host, port))) if is_host_name(host) => {
                Ok(Self::Host(host.to_owned(), port))
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Whatever names an [`Endpoint`]: text, addresses, or an endpoint.
pub trait ToEndpoint {
    /// The endpoint.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for text that is neither an address nor a host name with a port.
    fn to_endpoint(&self) -> io::Result<Endpoint>;
}

impl ToEndpoint for str {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Ok(self.parse()?)
    }
}

impl ToEndpoint for String {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        self.as_str().to_endpoint()
    }
}

impl ToEndpoint for Address {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Ok(Endpoint::Address(self.to_address()?))
    }
}

impl ToEndpoint for SocketAddr {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Ok((*self).into())
    }
}

impl ToEndpoint for Endpoint {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Ok(self.clone())
    }
}

impl<T: ToEndpoint + ?Sized> ToEndpoint for &T {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        (**self).to_endpoint()
    }
}

/// Why a client could not connect.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there.
    Refused,
    /// The deadline for connecting passed.
    TimedOut,
    /// The socket was connected to itself, as happens when a local port is tried on which nobody listens.
    SelfConnected,
    /// The host name could not be looked up.
    Lookup(io::Error),
    /// Something else failed.
    Io(io::Error),
}

impl ConnectError {
    pub(super) fn of_error(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused: nobody listens there"),
            Self::TimedOut => f.write_str("connecting took too long"),
            Self::SelfConnected => {
                f.write_str("the socket was connected to itself: nobody listens on that local port")
            }
            Self::Lookup(error) => write!(f, "the host name could not be looked up: {error}"),
            Self::Io(error) => write!(f, "connecting failed: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lookup(error) | Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// When a client tries again: after a delay that doubles with each failed attempt and each lost connection, less a random part
/// of up to one half, so that clients who lost the same server don't come back all at once. A connection that has lasted 10 s sets
/// it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Backoff {
    /// The delay after the first failure or loss. Default 500 ms.
    pub initial: Duration,
    /// The longest delay. Default 30 s.
    pub longest: Duration,
    /// After how many failed attempts in a row the client gives up; any connection ends the row. Default: never.
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(500), longest: Duration::from_secs(30), attempts: None }
    }
}

/// A back-off under way.
#[derive(Debug)]
pub(super) struct Retries {
    backoff: Option<Backoff>,
    /// Failures in a row, after which the client may give up.
    failures: u32,
    /// How often the delay has doubled. A connection that was lost at once doesn't start it over.
    doublings: u32,
    random: u64,
}

/// A connection that lasted so long is no sign of trouble.
const LASTING: Duration = Duration::from_secs(10);

impl Retries {
    pub(super) fn new(backoff: Option<Backoff>) -> Self {
        Self { backoff, failures: 0, doublings: 0, random: RandomState::new().build_hasher().finish() | 1 }
    }

    /// One more failure: when to try again, if at all.
    pub(super) fn failed(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let attempts = self.backoff?.attempts;
        if attempts.is_some_and(|attempts| self.failures >= attempts) { None } else { self.next_delay() }
    }

    /// The client is connected.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A connection has ended that had lasted for some time: when to connect again.
    pub(super) fn lost(&mut self, lasted: Duration) -> Option<Duration> {
        if lasted >= LASTING {
            self.doublings = 0;
        }
        self.next_delay()
    }

    fn next_delay(&mut self) -> Option<Duration> {
        let backoff = self.backoff?;
        let doubled = backoff.initial.saturating_mul(1 << self.doublings.min(20));
        self.doublings = self.doublings.saturating_add(1);
        let delay = doubled.min(backoff.longest);
        // Divided first: the longest delay there is could not be multiplied.
        Some(delay - delay / 2048 * (self.next_random() % 1024) as u32)
    }

    /// Marsaglia's xorshift: there is nothing to be guessed here.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Looks a host name up, on a thread of its own since it blocks, and hands the addresses to `done` there.
///
/// The thread is not joined: a look-up can't be interrupted, and may outlive the client that wanted it.
pub(super) fn look_up(
    host: String,
    port: u16,
    done: impl FnOnce(io::Result<Vec<Address>>) + Send + 'static,
) -> io::Result<()> {
    let look_up = move || {
        let found = (host.as_str(), port).to_socket_addrs();
        done(found.map(|addresses| addresses.map(Address::from).collect()));
    };
    std::thread::Builder::new().name("campana-lookup".to_owned()).spawn(look_up).map(drop)
}

fn is_host_name(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    !text.is_empty() && text.len() <= 253 && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_or_a_host_with_a_port() {
        let inet: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!("127.0.0.1:80".parse(), Ok(Endpoint::from(inet)));
        assert_eq!("example.com:80".parse(), Ok(Endpoint::Host("example.com".to_owned(), 80)));
        assert!("unix:/tmp/x".parse::<Endpoint>().is_ok());
        for wrong in ["", ":80", "example.com", "example.com:", "example.com:99999", "a b:80", "unix:"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_lose_at_most_half() {
        let backoff =
            Backoff { initial: Duration::from_millis(100), longest: Duration::from_secs(1), attempts: None };
        let mut retries = Retries::new(Some(backoff));
        let check = |delay: Option<Duration>, full| {
            let (delay, full) = (delay.unwrap(), Duration::from_millis(full));
            assert!(delay <= full && delay >= full / 2, "{delay:?} of {full:?}");
        };
        for full in [100, 200, 400, 800, 1000, 1000] {
            check(retries.failed(), full);
        }
        retries.succeeded();
        check(retries.lost(LASTING), 100);
        retries.succeeded();
        check(retries.lost(Duration::ZERO), 200);
        check(retries.failed(), 400);
        for _ in 0..100 {
            check(retries.failed().map(|_| Duration::from_secs(1)), 1000);
        }
    }

    #[test]
    fn a_back_off_gives_up_after_its_attempts() {
        let mut retries = Retries::new(Some(Backoff { attempts: Some(2), ..Backoff::default() }));
        assert!(retries.failed().is_some());
        assert!(retries.failed().is_none());
        retries.succeeded();
        assert!(retries.lost(LASTING).is_some(), "a lost connection is no failed attempt");
        assert!(retries.failed().is_some());
        assert!(Retries::new(None).failed().is_none());
    }
}
