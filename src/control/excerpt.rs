//! What a peer sent, as far as it is repeated in an error.

use std::borrow::Cow;

/// The text, or its beginning and its end if it has more than so many bytes: a peer may send as much as a request takes, and the
/// reply that repeats it has to fit into a packet.
pub(super) fn excerpt(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return text.into();
    }
    let boundary = |index: usize| (0..=index).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
    let (head, tail) = (boundary(longest * 3 / 4), boundary(text.len() - longest / 4));
    format!("{}…{}", &text[..head], &text[tail..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle_and_no_half_characters_remain() {
        assert_eq!(excerpt("short", 5), "short");
        assert_eq!(excerpt("0123456789", 8), "012345…89");
        assert_eq!(excerpt(&"é".repeat(10), 8), "ééé…é");
        for longest in 0..20 {
            for text in ["éa🔔b".repeat(10), "🔔".repeat(10)] {
                assert!(excerpt(&text, longest).len() <= longest + "…🔔".len());
            }
        }
    }
}
