//! The one form of an ES256 signature.
//!
//! Rule: of the two values of `s` that are valid for a message, `s` and the order of the curve minus `s`, only the smaller one
//! is made and accepted. Threat: a second text of the same token, which anyone can compute, and which a list of refused
//! texts somewhere does not have.

/// The bytes of `r`, and of `s` (RFC 7518, section 3.4).
const HALF: usize = 32;
/// The order of the curve P-256 (FIPS 186-5).
const ORDER: [u8; HALF] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Whether `s` is the smaller of the two.
pub fn is_low(signature: &[u8]) -> bool {
    let Some(s) = signature.get(HALF..).and_then(|s| <[u8; HALF]>::try_from(s).ok()) else { return false };
    s <= order_minus(s)
}

/// Replaces `s` by the smaller of the two.
pub fn make_low(signature: &mut [u8]) {
    if let Some(half) = signature.get_mut(HALF..)
        && let Ok(s) = <[u8; HALF]>::try_from(&*half)
    {
        half.copy_from_slice(&s.min(order_minus(s)));
    }
}

/// The order minus `s`, which is less than the order.
fn order_minus(s: [u8; HALF]) -> [u8; HALF] {
    let (mut difference, mut borrow) = (ORDER, 0);
    for (digit, s) in difference.iter_mut().zip(s).rev() {
        let (value, first) = digit.overflowing_sub(s);
        let (value, second) = value.overflowing_sub(borrow);
        (*digit, borrow) = (value, u8::from(first || second));
    }
    difference
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn one_of_the_two_forms_is_low_and_both_are_valid() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        let mut low = 0;
        for _ in 0..64 {
            let made = pair.sign(&SystemRandom::new(), b"message").unwrap().as_ref().to_vec();
            let mut other = made.clone();
            let s = order_minus(made[HALF..].try_into().unwrap());
            other[HALF..].copy_from_slice(&s);
            public.verify(b"message", &other).unwrap();
            assert_ne!(is_low(&made), is_low(&other));
            low += u32::from(is_low(&made));
            let (mut one, mut two) = (made, other);
            make_low(&mut one);
            make_low(&mut two);
            assert!(one == two && is_low(&one));
            public.verify(b"message", &one).unwrap();
        }
        assert!((1..64).contains(&low), "the library makes both");
        assert!(!is_low(b"too short"));
    }
}
