//! A blocking client of control sockets, for tools and tests.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

use super::address::ToControlAddress;
use crate::socket::PeerCredentials;
use link::{Deadline, Link, Received, remaining};

mod error;
mod link;
mod reply;

pub use error::ClientError;
pub use reply::{ErrorReply, Reply};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_REPLY_LIMIT: usize = 1024 * 1024;

/// How many requests may be in flight or have replies that nobody has taken.
const MAX_OUTSTANDING: usize = 1024;

/// How many bytes of replies that nobody has taken are enough.
const MAX_ARRIVED_BYTES: usize = 16 * 1024 * 1024;

/// A client of a control socket that waits for its replies. It needs no event loop, and blocks its thread: on a loop's thread it
/// would hold up everything else there, and wait in vain for a server on that same loop.
///
/// ```no_run
/// use campana::control::ControlClient;
/// use serde_json::json;
///
/// let mut client = ControlClient::connect("/run/app.sock")?;
/// let sum: i64 = client.request("add", &json!({"a": 1, "b": 2}))?;
///
/// // Several at once, whose replies come in any order.
/// let slow = client.send("slow", &())?;
/// let fast = client.send("fast", &())?;
/// println!("{}", client.wait(&fast)?.into_result::<String>()?);
/// println!("{}", client.wait(&slow)?.into_result::<String>()?);
/// # Ok::<(), campana::control::ClientError>(())
/// ```
///
/// Parameters are whatever is an object in JSON; `&()` stands for none. Each call that waits gives up after
/// [a while](Self::set_timeout). A request whose time is over is not undone: the server may still answer it.
///
/// What holds for the whole connection comes from whichever call meets it: a packet that is no reply
/// ([`Malformed`](ClientError::Malformed)), and an error reply without an id ([`Failed`](ClientError::Failed)), such as the one with
/// which a server refuses a peer. The requests in flight stay so. After [`Disconnected`](ClientError::Disconnected) replies that
/// have come can still be taken, and nothing else.
///
/// Replies that come while another one is waited for are kept: for 1024 requests at most, and no more once they have 16 MiB
/// together. Then calls fail with [`Full`](ClientError::Full) until some are taken. Descriptors that come unasked are closed.
pub struct ControlClient {
    link: Link,
    timeout: Option<Duration>,
    last_id: u64,
    in_flight: HashSet<String>,
    /// Replies that nobody has taken, the oldest first.
    arrived: VecDeque<Reply>,
    arrived_bytes: usize,
}

impl ControlClient {
    /// Connects to a server, within ten seconds.
    ///
    /// # Errors
    ///
    /// [`Io`](ClientError::Io) if there is no such server or it can't be reached, [`TimedOut`](ClientError::TimedOut) if its
    /// backlog was full all the time.
    pub fn connect(address: impl ToControlAddress) -> Result<Self, ClientError> {
        Self::connect_timeout(address, Some(DEFAULT_TIMEOUT))
    }

    /// Connects to a server within `timeout`, which holds for requests too from then on; see [`set_timeout`](Self::set_timeout).
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(
        address: impl ToControlAddress,
        timeout: Option<Duration>,
    ) -> Result<Self, ClientError> {
        let link = Link::connect(&address.to_control_address()?, deadline_in(timeout), DEFAULT_REPLY_LIMIT)?;
        Ok(Self {
            link,
            timeout,
            last_id: 0,
            in_flight: HashSet::new(),
            arrived: VecDeque::new(),
            arrived_bytes: 0,
        })
    }

    /// Sets how long each call may take, sending and waiting together; `None` is for ever. Ten seconds at first.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Sets how many bytes a reply may have, which costs as much memory. 1 MiB at first, which is more than servers can send
    /// unless they have larger send buffers than is usual.
    pub fn set_reply_limit(&mut self, bytes: usize) {
        self.link.set_reply_limit(bytes);
    }

    /// The process that listens at the other end. Anybody can take a free abstract name: see whose it is before you trust it. If the
    /// socket has been [handed over](super::Handover), `pid` is the process that made it, which may have ended long ago.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        self.link.socket().peer_credentials()
    }

    /// How many requests are in flight or have replies that nobody has taken.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.in_flight.len() + self.arrived.len()
    }

    /// Sends a request and waits for its result. If there is none in time, the reply is dropped when it comes.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`]; [`Failed`](ClientError::Failed) is the server's answer.
    pub fn request<P: Serialize + ?Sized, R: DeserializeOwned>(
        &mut self,
        command: &str,
        params: &P,
    ) -> Result<R, ClientError> {
        self.exchange(command, params, None).map(|(result, _)| result)
    }

    /// Sends a request and waits for its result and up to `max` descriptors that come along with it, all close-on-exec.
    ///
    /// A message carries [253](crate::socket::MAX_DESCRIPTORS) at most.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), and [`DescriptorsLost`](ClientError::DescriptorsLost) if more than `max` came. With any
    /// error all descriptors are closed.
    pub fn request_with_descriptors<P: Serialize + ?Sized, R: DeserializeOwned>(
        &mut self,
        command: &str,
        params: &P,
        max: usize,
    ) -> Result<(R, Vec<OwnedFd>), ClientError> {
        self.exchange(command, params, Some(max))
    }

    /// Sends a request, and answers the id by which to [wait](Self::wait) for its reply.
    ///
    /// While there is no room to send, replies that come are taken in, so that neither side waits for the other to read.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`] but `UnexpectedResult`, `NotInFlight` and `DescriptorsLost`. The request was not sent then.
    pub fn send<P: Serialize + ?Sized>(&mut self, command: &str, params: &P) -> Result<String, ClientError> {
        self.send_until(command, params, deadline_in(self.timeout))
    }

    /// Waits for the reply to a request. It may be an error: [`Reply::into_result`] tells.
    ///
    /// # Errors
    ///
    /// [`NotInFlight`](ClientError::NotInFlight) if there is no such request. After [`TimedOut`](ClientError::TimedOut) it can be
    /// waited for again. Otherwise `Io`, `Disconnected`, `Malformed`, `Full`, and [`Failed`](ClientError::Failed) for an error
    /// that is nobody's reply.
    pub fn wait(&mut self, id: &str) -> Result<Reply, ClientError> {
        if let Some(index) = self.arrived.iter().position(|reply| reply.id() == id) {
            return self.take_arrived(index).ok_or(ClientError::NotInFlight);
        }
        if !self.in_flight.contains(id) {
            return Err(ClientError::NotInFlight);
        }
        self.wait_until(id, deadline_in(self.timeout), None).map(|(reply, _)| reply)
    }

    /// Waits for the next reply, whichever request it is to: the oldest of those that have come, or else the first that comes.
    ///
    /// # Errors
    ///
    /// [`NotInFlight`](ClientError::NotInFlight) if no request is; otherwise as [`wait`](Self::wait).
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        if let Some(reply) = self.take_arrived(0) {
            return Ok(reply);
        }
        if self.in_flight.is_empty() {
            return Err(ClientError::NotInFlight);
        }
        let deadline = deadline_in(self.timeout);
        loop {
            let reply = Reply::parse(self.link.receive(deadline, None)?.bytes)?;
            if self.in_flight.remove(reply.id()) {
                return Ok(reply);
            }
            remaining(deadline)?;
        }
    }

    /// Waits for the reply to a request no longer: it is dropped, now or when it comes. Does nothing for any other id.
    pub fn forget(&mut self, id: &str) {
        self.in_flight.remove(id);
        if let Some(index) = self.arrived.iter().position(|reply| reply.id() == id) {
            self.take_arrived(index);
        }
    }

    fn exchange<P: Serialize + ?Sized, R: DeserializeOwned>(
        &mut self,
        command: &str,
        params: &P,
        descriptors: Option<usize>,
    ) -> Result<(R, Vec<OwnedFd>), ClientError> {
        let deadline = deadline_in(self.timeout);
        let id = self.send_until(command, params, deadline)?;
        let answer = self.wait_until(&id, deadline, descriptors);
        self.forget(&id);
        let (reply, descriptors) = answer?;
        Ok((reply.into_result()?, descriptors))
    }

    fn send_until<P: Serialize + ?Sized>(
        &mut self,
        command: &str,
        params: &P,
        deadline: Deadline,
    ) -> Result<String, ClientError> {
        if self.outstanding() >= MAX_OUTSTANDING {
            return Err(ClientError::Full);
        }
        self.last_id += 1;
        let id = self.last_id.to_string();
        let packet = encode(command, params, &id)?;
        loop {
            match self.link.try_send(&packet) {
                Ok(true) => break,
                Ok(false) => {}
                Err(ClientError::Disconnected) => return Err(self.farewell(deadline)),
                Err(error) => return Err(error),
            }
            if !self.has_room() {
                return Err(ClientError::Full);
            }
            if self.link.wait_for_room_or_packet(deadline)? {
                self.keep_next()?;
            }
        }
        self.in_flight.insert(id.clone());
        Ok(id)
    }

    fn wait_until(
        &mut self,
        id: &str,
        deadline: Deadline,
        max: Option<usize>,
    ) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
        loop {
            if !self.has_room() {
                return Err(ClientError::Full);
            }
            let Received { bytes, descriptors, descriptors_lost } = self.link.receive(deadline, max)?;
            let reply = Reply::parse(bytes)?;
            if reply.id() == id {
                self.in_flight.remove(id);
                return match max {
                    Some(max) if descriptors_lost && reply.is_ok() => {
                        Err(ClientError::DescriptorsLost { max })
                    }
                    _ => Ok((reply, descriptors)),
                };
            }
            self.keep(reply);
            // Replies that nobody waits for could come for ever.
            remaining(deadline)?;
        }
    }

    /// Why the server reads no more: the error that it sent at last, if there is one.
    fn farewell(&mut self, deadline: Deadline) -> ClientError {
        loop {
            match self.keep_next() {
                // One that reads no more may go on sending for ever.
                Ok(true) if self.has_room() && remaining(deadline).is_ok() => {}
                Ok(_) => return ClientError::Disconnected,
                Err(error) => return error,
            }
        }
    }

    /// Takes in the reply that has come, if one has.
    fn keep_next(&mut self) -> Result<bool, ClientError> {
        let Some(packet) = self.link.try_receive()? else { return Ok(false) };
        let reply = Reply::parse(packet.bytes)?;
        self.keep(reply);
        Ok(true)
    }

    /// Keeps a reply for whoever asks for it, unless nobody will.
    fn keep(&mut self, reply: Reply) {
        if self.in_flight.remove(reply.id()) {
            self.arrived_bytes += reply.length();
            self.arrived.push_back(reply);
        }
    }

    fn take_arrived(&mut self, index: usize) -> Option<Reply> {
        let reply = self.arrived.remove(index)?;
        self.arrived_bytes -= reply.length();
        Some(reply)
    }

    fn has_room(&self) -> bool {
        self.arrived_bytes < MAX_ARRIVED_BYTES
    }
}

impl fmt::Debug for ControlClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlClient")
            .field("socket", self.link.socket())
            .field("timeout", &self.timeout)
            .field("in_flight", &self.in_flight.len())
            .field("arrived", &self.arrived.len())
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    id: &'a str,
}

fn encode<P: Serialize + ?Sized>(command: &str, params: &P, id: &str) -> Result<Vec<u8>, ClientError> {
    let params = to_raw_value(params).map_err(ClientError::InvalidParams)?;
    // What has no members at all, as `()`, is no object in JSON.
    let params = (params.get() != RawValue::NULL.get()).then_some(&*params);
    serde_json::to_vec(&Request { version: 1, command, params, id }).map_err(ClientError::InvalidParams)
}

/// Later than the system can count is never.
fn deadline_in(timeout: Option<Duration>) -> Deadline {
    Instant::now().checked_add(timeout?)
}
