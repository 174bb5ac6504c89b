//! The system calls that the floors and the load generators are made of, with as little around them as there can be.
//!
//! All that is unsafe in this package is here.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Readiness events as the kernel fills them in.
pub type Event = libc::epoll_event;

/// Reading and writing, edge-triggered: registered once, and never changed.
pub const READ_WRITE: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
/// Reading, edge-triggered.
pub const READ: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
/// The descriptor takes output again.
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; the descriptor that it returns is nobody else's.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds a descriptor under a number of the caller's.
    pub fn add(&self, fd: RawFd, events: u32, token: usize) -> io::Result<()> {
        let mut event = Event { events, u64: token as u64 };
        // SAFETY: `event` lives for the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits for at most `millis` (-1: for as long as it takes), and answers the events that came up.
    #[inline]
    pub fn wait<'a>(&self, events: &'a mut [Event], millis: i32) -> io::Result<&'a [Event]> {
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `room` events to a slice of at least that length.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, millis) };
        match check(count) {
            Ok(count) => Ok(&events[..count as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&events[..0]),
            Err(error) => Err(error),
        }
    }
}

/// Room for `count` events.
pub fn events(count: usize) -> Vec<Event> {
    vec![Event { events: 0, u64: 0 }; count]
}

/// Reads once; zero is the end of the stream.
#[inline]
pub fn recv(fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `into.len()` bytes to it.
    let count = unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), 0) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}

/// Writes once.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes of it.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}

/// Makes calls on a socket wait.
pub fn wait_on(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, 0) })?;
    Ok(())
}

/// Accepts a connection, non-blocking and without delay; nothing if none waits.
pub fn accept(listener: &TcpListener) -> io::Result<Option<OwnedFd>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for.
    let fd =
        unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    match check(fd) {
        Ok(fd) => {
            // SAFETY: it has just been accepted, and is nobody else's.
            let stream = unsafe { TcpStream::from_raw_fd(fd) };
            stream.set_nodelay(true)?;
            Ok(Some(stream.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// A non-blocking listener with a backlog that the load generators don't overflow.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    // SAFETY: takes no pointer. Listening once more only changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), 4096) })?;
    Ok(listener)
}

/// Begins to connect, without blocking, from an address of the loopback network.
pub fn start_connect(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointer; the descriptor that it returns is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, flags, 0))?) };
    let one: libc::c_int = 1;
    for (level, option) in
        [(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT), (libc::IPPROTO_TCP, libc::TCP_NODELAY)]
    {
        // SAFETY: `one` lives for the call, and its size is what is said.
        check(unsafe {
            libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const one).cast(), size_of_val(&one) as u32)
        })?;
    }
    let (from, to) = (address(SocketAddrV4::new(from, 0)), address(to));
    let length = size_of_val(&from) as u32;
    // SAFETY: both addresses live for the calls, and their size is what is said.
    unsafe {
        check(libc::bind(fd.as_raw_fd(), (&raw const from).cast(), length))?;
        match check(libc::connect(fd.as_raw_fd(), (&raw const to).cast(), length)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(fd),
        }
    }
}

fn address(of: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: of.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*of.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

/// A non-blocking eventfd.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer; the descriptor that it returns is nobody else's.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?)) }
}

/// Adds one to an eventfd.
pub fn ping(eventfd: &OwnedFd) -> io::Result<()> {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight bytes are read of eight.
    let count = unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Keeps the calling thread on one core, or leaves it as it is if the machine hasn't as many.
pub fn pin_to_core(core: usize) {
    // SAFETY: a set of cores is plain bits, and lives for the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

/// Ends this process when its parent ends.
pub fn die_with_parent() {
    // SAFETY: takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Raises the soft limit on descriptors to 20 000, if the hard one allows.
pub fn raise_descriptor_limit() {
    // SAFETY: `limit` lives for the calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max.min(20_000);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// How many bytes of heap the process has allocated, as the allocator counts them: its own headers and rounding included.
pub fn heap_in_use() -> usize {
    // SAFETY: takes no pointer.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// The processor time of the calling thread, in nanoseconds.
pub fn thread_cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The processor time of a process's threads, user and system, in nanoseconds; zero if it is gone.
pub fn cpu_nanos_of(process: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    let of_thread = |thread: io::Result<std::fs::DirEntry>| {
        let schedstat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

/// The resident memory of a process, in bytes.
pub fn resident_bytes_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
