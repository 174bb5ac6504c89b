//! Peers that are turned away for their address.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{AddressList, AddressListError, turn_away};
use crate::codec::Codec;
use crate::session::{FilterContext, MessageFilter, Verdict};

/// Lets peers in, or not, by an [`AddressList`]. A session that isn't allowed ends at once, with
/// [`CloseReason::Refused`](crate::CloseReason::Refused), before its `on_open`.
///
/// Clones share the rules and the count, on all loops and beyond. The rules may be changed at any time and from any thread, which
/// holds for the connections that come then.
///
/// ```
/// use campana::session::filters::{AddressList, AddressRules};
/// # use campana::codec::{Lines, Text};
/// # use campana::session::{Session, SessionContext, SessionService};
/// # use campana::testing::TestLoop;
/// # struct Echo;
/// # impl Session for Echo {
/// #     type Codec = Text<Lines>;
/// #     fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _line: &str) {}
/// # }
///
/// let rules = AddressRules::new(AddressList::allow_by_default());
/// let of_sessions = rules.clone();
/// let service = SessionService::new(|| Text::over(Lines::new())).filter("addresses", move || of_sessions.clone());
///
/// let mut test = TestLoop::sessions(service, |_| Echo);
/// assert!(test.connect_from("192.0.2.1:5000".parse()?).close_reason().is_none());
/// rules.set("deny 192.0.2.0/24\ndefault allow".parse()?);
/// let refused = test.connect_from("192.0.2.1:5001".parse()?);
/// test.run_until_idle();
/// assert_eq!(refused.close_reason().unwrap().to_string(), "refused: the address 192.0.2.1 is not allowed");
/// assert_eq!(rules.refused(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AddressRules {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Behind an Arc of its own, so that the lock is held for a moment only, however long the list is.
    list: RwLock<Arc<AddressList>>,
    refused: AtomicU64,
}

impl AddressRules {
    /// A filter that goes by this list.
    #[must_use]
    pub fn new(list: AddressList) -> Self {
        Self { shared: Arc::new(Shared { list: RwLock::new(Arc::new(list)), refused: AtomicU64::new(0) }) }
    }

    /// Puts another list in the place of the one in force. Sessions that are open stay so.
    pub fn set(&self, list: AddressList) {
        *self.shared.list.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
    }

    /// The list in force.
    #[must_use]
    pub fn list(&self) -> Arc<AddressList> {
        Arc::clone(&self.shared.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many were turned away so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl FromStr for AddressRules {
    type Err = AddressListError;

    fn from_str(text: &str) -> Result<Self, AddressListError> {
        text.parse().map(Self::new)
    }
}

impl<C: Codec> MessageFilter<C> for AddressRules {
    fn wants_messages(&self) -> bool {
        false
    }

    fn wants_writes(&self) -> bool {
        false
    }

    fn on_open(&mut self, cx: &mut FilterContext<'_, C>) -> Verdict {
        let peer = cx.peer_address();
        if self.list().allows(&peer) {
            return Verdict::Pass;
        }
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        match peer.ip() {
            Some(ip) => turn_away(cx, format!("the address {} is not allowed", ip.to_canonical())),
            None => turn_away(cx, "Unix peers are not allowed"),
        }
    }
}
