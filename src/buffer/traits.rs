//! What lets code written against the standard library and `bytes` use a buffer.

use std::fmt;
use std::io;

use bytes::{Buf, Bytes};

use super::Buffer;

/// Shows the sizes of the three parts and not the content, which may be secret and is often large.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("prependable", &self.prependable())
            .field("readable", &self.readable())
            .field("writable", &self.writable())
            .finish()
    }
}

/// Copies the readable bytes alone, into storage that fits them.
impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::from(self.peek())
    }
}

/// Buffers are equal when their readable bytes are.
impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.peek() == other.peek()
    }
}

impl Eq for Buffer {}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.peek()
    }
}

/// Takes the vector over without a copy; there is no prependable space until the buffer has been emptied or grown.
impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, read: 0 }
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::new();
        buffer.append(bytes);
        buffer
    }
}

impl Buf for Buffer {
    fn remaining(&self) -> usize {
        self.readable()
    }

    fn chunk(&self) -> &[u8] {
        self.peek()
    }

    fn advance(&mut self, n: usize) {
        self.retrieve(n);
    }

    fn copy_to_bytes(&mut self, n: usize) -> Bytes {
        self.take_bytes(n)
    }
}

/// Takes from the front; an empty buffer reads as end of file.
impl io::Read for Buffer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = into.len().min(self.readable());
        into[..n].copy_from_slice(self.take_n(n));
        Ok(n)
    }
}

impl io::BufRead for Buffer {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.peek())
    }

    fn consume(&mut self, n: usize) {
        self.retrieve(n);
    }
}

/// Appends; never fails.
impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
