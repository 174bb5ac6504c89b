//! Compression, switched on in the middle of a session.

use campana::session::byte_filters::Compression;

use super::session::{Chat, Cx};
use crate::protocol::{Compress, Done, ErrorCode, Failure};

/// What the filter is called.
const NAME: &str = "compression";

impl Chat {
    /// The reply is the last frame that isn't compressed: what is written before the filter is there doesn't go through it.
    pub(super) fn compress(&mut self, cx: &mut Cx<'_>, seq: u32, request: Compress) -> Result<(), Failure> {
        if request.method != "deflate" {
            let text = format!("{:?} is no compression that is known here: deflate is", request.method);
            return Err(Failure::new(ErrorCode::NotSupported, text));
        }
        if cx.byte_filters().contains(NAME) {
            return Err(Failure::new(ErrorCode::NotSupported, "the session is compressed already"));
        }
        self.reply::<Compress>(cx, seq, &Done {});
        cx.byte_filters()
            .add_last(NAME, Box::new(Compression::new()))
            .map_err(|error| Failure::new(ErrorCode::NotSupported, error.to_string()))
    }
}
