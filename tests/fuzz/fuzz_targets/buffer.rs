//! A buffer, under any sequence of calls, against a vector that does the same.
#![no_main]

use std::io::{BufRead, Read, Write};

use arbitrary::Arbitrary;
use campana::Buffer;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Append(&'a [u8]),
    AppendMuch(u16, u8),
    Prepend(&'a [u8]),
    Write(&'a [u8]),
    AppendInteger(u32),
    PrependInteger(u16),
    /// How much of what is readable is meant, in parts of 256.
    Retrieve(u8),
    Unwrite(u8),
    TakeN(u8),
    TakeBytes(u8),
    Consume(u8),
    TryTakeN(u16),
    Read(u8),
    ReadInteger,
    Take,
    TakeAllBytes,
    TakeString,
    Change(u8),
    Reserve(u16),
    Shrink(u16),
    Find(u8, u16),
    Swap,
    Clone,
    Adopt,
    Clear,
}

libfuzzer_sys::fuzz_target!(|steps: Vec<Step<'_>>| {
    let (mut buffer, mut model) = (Buffer::new(), Vec::new());
    let (mut other_buffer, mut other_model) = (Buffer::with_capacity(100), Vec::new());
    for step in steps {
        apply(step, &mut buffer, &mut model, &mut other_buffer, &mut other_model);
        assert_eq!(buffer.peek(), &model[..]);
        assert_eq!((buffer.len(), buffer.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(buffer.prependable() + buffer.readable() + buffer.writable(), buffer.capacity());
    }
});

fn apply(
    step: Step<'_>,
    buffer: &mut Buffer,
    model: &mut Vec<u8>,
    other_buffer: &mut Buffer,
    other_model: &mut Vec<u8>,
) {
    let share = |part: u8| model.len() * (usize::from(part) + 1) / 256;
    match step {
        Step::Append(bytes) => {
            buffer.append(bytes);
            model.extend(bytes);
        }
        Step::AppendMuch(len, byte) => {
            let bytes = vec![byte; usize::from(len)];
            buffer.append(&bytes);
            model.extend(bytes);
        }
        Step::Prepend(bytes) => {
            buffer.prepend(bytes);
            model.splice(..0, bytes.iter().copied());
        }
        Step::Write(bytes) => {
            buffer.write_all(bytes).unwrap();
            model.extend(bytes);
        }
        Step::AppendInteger(value) => {
            buffer.append_u32(value);
            model.extend(value.to_be_bytes());
        }
        Step::PrependInteger(value) => {
            buffer.prepend_u16(value);
            model.splice(..0, value.to_be_bytes());
        }
        Step::Retrieve(part) => {
            let n = share(part);
            buffer.retrieve(n);
            model.drain(..n);
        }
        Step::Unwrite(part) => {
            let n = share(part);
            buffer.unwrite(n);
            model.truncate(model.len() - n);
        }
        Step::TakeN(part) => {
            let n = share(part);
            assert_eq!(buffer.take_n(n), drain(model, n));
        }
        Step::TakeBytes(part) => {
            let n = share(part);
            assert_eq!(buffer.take_bytes(n), drain(model, n));
        }
        Step::Consume(part) => {
            let n = share(part);
            assert_eq!(buffer.fill_buf().unwrap(), &model[..]);
            buffer.consume(n);
            model.drain(..n);
        }
        Step::TryTakeN(n) => {
            let n = usize::from(n);
            let expected = (n <= model.len()).then(|| drain(model, n));
            assert_eq!(buffer.try_take_n(n), expected.as_deref());
        }
        Step::Read(n) => {
            let mut into = vec![0; usize::from(n)];
            let read = buffer.read(&mut into).unwrap();
            assert_eq!(into[..read], drain(model, into.len().min(model.len())));
        }
        Step::ReadInteger => {
            let expected = (model.len() >= 8).then(|| drain(model, 8));
            assert_eq!(buffer.read_u64().map(|value| value.to_be_bytes().to_vec()), expected);
        }
        Step::Take => assert_eq!(Buffer::take(buffer), std::mem::take(model)),
        Step::TakeAllBytes => assert_eq!(buffer.take_all_bytes(), std::mem::take(model)),
        Step::TakeString => assert_eq!(buffer.take_string(), String::from_utf8(std::mem::take(model))),
        Step::Change(mask) => {
            buffer.peek_mut().iter_mut().for_each(|byte| *byte ^= mask);
            model.iter_mut().for_each(|byte| *byte ^= mask);
        }
        Step::Reserve(n) => {
            buffer.reserve(usize::from(n));
            assert!(buffer.writable() >= usize::from(n));
        }
        Step::Shrink(reserve) => {
            let before = buffer.capacity();
            buffer.shrink(usize::from(reserve));
            assert!(buffer.capacity() <= before);
        }
        Step::Find(byte, offset) => find(buffer, model, byte, usize::from(offset)),
        Step::Swap => {
            buffer.swap(other_buffer);
            std::mem::swap(model, other_model);
        }
        Step::Clone => {
            *other_buffer = buffer.clone();
            other_model.clone_from(model);
        }
        Step::Adopt => *buffer = Buffer::from(model.clone()),
        Step::Clear => {
            buffer.clear();
            model.clear();
        }
    }
}

fn find(buffer: &Buffer, model: &[u8], byte: u8, offset: usize) {
    let rest = model.get(offset..).unwrap_or(&[]);
    let at = |found: usize| found + offset;
    assert_eq!(buffer.find(byte), model.iter().position(|b| *b == byte));
    assert_eq!(buffer.find_from(byte, offset), rest.iter().position(|b| *b == byte).map(at));
    assert_eq!(buffer.find_eol_from(offset), rest.iter().position(|b| *b == b'\n').map(at));
    assert_eq!(buffer.find_crlf(), model.windows(2).position(|pair| pair == b"\r\n"));
    assert_eq!(buffer.find_crlf_from(offset), rest.windows(2).position(|pair| pair == b"\r\n").map(at));
}

fn drain(model: &mut Vec<u8>, n: usize) -> Vec<u8> {
    model.drain(..n).collect()
}
