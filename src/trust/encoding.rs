//! Base64 without freedom: of several texts for one value, only one is accepted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Decodes the standard alphabet with padding. Refuses line breaks, missing padding, and bits after the last byte that are
/// not zero.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_text_for_each_value() {
        assert_eq!(decode_base64("AQI=").as_deref(), Some(&[1, 2][..]));
        assert_eq!(decode_base64("+/8=").as_deref(), Some(&[0xfb, 0xff][..]));
        for text in ["AQI", "AQJ=", "AQ\nI=", "AQI=\n", "-_8=", "AQI==", "AQI=AQI=", " AQI=", "A"] {
            assert_eq!(decode_base64(text), None, "{text:?}");
        }
    }
}
