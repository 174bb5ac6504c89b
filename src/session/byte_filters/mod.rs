//! Byte filters that come with the library.
//!
//! | filter | what it does |
//! | --- | --- |
//! | `Compression` (feature `compression`) | a deflate stream in each direction, over the whole life of the session |
//! | [`TrafficShaper`] | so many bytes a second, in each direction |
//! | [`HexTap`] | logs what passes |
//!
//! A session's byte filters are named from the connection to the codec: [`SessionService::byte_filter`] adds one behind those before
//! it. A shaper is best the first: it then counts what is on the wire, and what it holds back is past all others. A tap sees what
//! passes at its place.
//!
//! ```
//! use campana::codec::{Lines, Text};
//! use campana::session::byte_filters::{HexTap, TrafficShaper};
//! use campana::session::{Session, SessionService};
//!
//! fn service<S: Session<Codec = Text<Lines>>>() -> SessionService<S> {
//!     SessionService::new(|| Text::over(Lines::new()))
//!         .byte_filter("shaper", || TrafficShaper::new().outbound(1_000_000, 64 * 1024))
//!         .byte_filter("tap", HexTap::new)
//! }
//! ```
//!
//! [`SessionService::byte_filter`]: super::SessionService::byte_filter

#[cfg(feature = "compression")]
mod compression;
mod hex_tap;
mod traffic_shaper;

#[cfg(feature = "compression")]
pub use compression::{Compression, CompressionCounters, CompressionError};
pub use hex_tap::HexTap;
pub use traffic_shaper::TrafficShaper;
