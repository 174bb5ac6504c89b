//! Message filters that many servers need.
//!
//! | filter | what it does | sessions share |
//! | --- | --- | --- |
//! | [`Logging`] | logs what happens; of messages only their sizes, unless it is told otherwise | nothing |
//! | [`KeepAlive`] | asks a silent peer whether it is there, and answers such questions | the count of those who weren't |
//! | [`AddressRules`] | lets peers in, or not, by their address | the rules, which may be changed at any time |
//! | [`ConnectionRate`] | lets only so many connections of an address in over a time | the counts |
//! | [`MessageRate`] | lets only so many messages of a session in over a time | the count of what was limited |
//! | [`AuthenticationGate`] | keeps messages back that are not for peers who haven't logged in | the count of them |
//! | [`StatisticsTap`] | counts messages and their bytes by kind | the counts |
//!
//! Each is made once, and every session gets a clone; what the clones share is there for other threads too:
//!
//! ```
//! use std::time::Duration;
//!
//! use campana::codec::{Lines, Text};
//! use campana::session::filters::{AddressRules, Logging, MessageRate};
//! use campana::session::{Session, SessionContext, SessionService};
//! use campana::testing::TestLoop;
//!
//! struct Echo;
//!
//! impl Session for Echo {
//!     type Codec = Text<Lines>;
//!
//!     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
//!         let _ = cx.write(line);
//!     }
//! }
//!
//! let rules: AddressRules = "deny 198.51.100.0/24\ndefault allow".parse()?;
//! let rate = MessageRate::new(50, Duration::from_secs(1));
//!
//! let service = SessionService::new(|| Text::over(Lines::new()))
//!     .filter("addresses", {
//!         let rules = rules.clone();
//!         move || rules.clone()
//!     })
//!     .filter("log", Logging::sizes)
//!     .filter("rate", move || rate.clone());
//!
//! let mut test = TestLoop::sessions(service, |_| Echo);
//! let peer = test.connect();
//! peer.send("hello\n");
//! test.run_until_idle();
//! assert_eq!(peer.receive(), b"hello\n");
//! assert_eq!(rules.refused(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In which order
//!
//! The head of the chain is the first to see what comes in. So what turns connections away goes first, then `Logging` or
//! `StatisticsTap` if they are to see all that is on the wire, then `KeepAlive`, whose messages don't count for those behind it,
//! then `MessageRate`, and `AuthenticationGate` last. What a filter keeps back those behind it don't see.

use std::borrow::Cow;

use super::{FilterContext, Verdict};
use crate::codec::Codec;
use crate::connection::CloseReason;

mod address_block;
mod address_list;
mod address_rules;
mod authentication_gate;
mod connection_rate;
mod keep_alive;
mod logging;
mod message_rate;
mod statistics_tap;

pub use address_block::{AddressBlock, AddressBlockError};
pub use address_list::{AddressList, AddressListError};
pub use address_rules::AddressRules;
pub use authentication_gate::{AuthenticationGate, BeforeLogIn};
pub use connection_rate::ConnectionRate;
pub use keep_alive::{KeepAlive, KeepAliveMessages};
pub use logging::{Content, DescribeMessages, Logging, Nothing, Sizes};
pub use message_rate::{MessageRate, WhenEmpty};
pub use statistics_tap::{Counted, KindCounts, MessageCounts, MessageKinds, StatisticsTap, TapSnapshot};

/// Ends a session that should not have begun. There is nothing to be delivered, so that its descriptor isn't kept until the peer
/// closes too.
#[cold]
fn turn_away<C: Codec>(cx: &mut FilterContext<'_, C>, why: impl Into<Cow<'static, str>>) -> Verdict {
    cx.close_because(CloseReason::Refused(why.into()));
    cx.abort();
    Verdict::Drop
}
