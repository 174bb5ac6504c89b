//! Integers in network byte order (big-endian) at both ends of a buffer.

use super::Buffer;

macro_rules! integers {
    ($($int:ident: $append:ident, $prepend:ident, $peek:ident, $read:ident;)*) => {
        impl Buffer {$(
            #[doc = concat!("Puts a big-endian `", stringify!($int), "` after the content.")]
            #[inline]
            pub fn $append(&mut self, value: $int) {
                self.append(&value.to_be_bytes());
            }

            #[doc = concat!("Puts a big-endian `", stringify!($int), "` before the content.")]
            #[inline]
            pub fn $prepend(&mut self, value: $int) {
                self.prepend(&value.to_be_bytes());
            }

            #[doc = concat!("The big-endian `", stringify!($int), "` at the front, if all of it has arrived.")]
            #[inline]
            #[must_use]
            pub fn $peek(&self) -> Option<$int> {
                self.peek().first_chunk().map(|bytes| $int::from_be_bytes(*bytes))
            }

            #[doc = concat!("Takes the big-endian `", stringify!($int), "` at the front, if all of it has arrived.")]
            #[inline]
            pub fn $read(&mut self) -> Option<$int> {
                let value = self.$peek()?;
                self.read += size_of::<$int>();
                Some(value)
            }
        )*}
    };
}

integers! {
    u8: append_u8, prepend_u8, peek_u8, read_u8;
    u16: append_u16, prepend_u16, peek_u16, read_u16;
    u32: append_u32, prepend_u32, peek_u32, read_u32;
    u64: append_u64, prepend_u64, peek_u64, read_u64;
    i8: append_i8, prepend_i8, peek_i8, read_i8;
    i16: append_i16, prepend_i16, peek_i16, read_i16;
    i32: append_i32, prepend_i32, peek_i32, read_i32;
    i64: append_i64, prepend_i64, peek_i64, read_i64;
}
