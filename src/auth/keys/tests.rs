//! The vectors of Wycheproof, which are known ways to fool a verifier.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use wycheproof::{LargeInteger, TestResult};

use super::{Key, low_s};
use crate::model::{Algorithm, Timestamp};

fn key(algorithm: Algorithm, public: DecodingKey) -> Key {
    Key {
        kid: "k".into(),
        algorithm,
        generation: 1,
        created_at: Timestamp(0),
        signs_from: Timestamp(0),
        longest_jwt_ttl: 0,
        verifies_until: None,
        private: EncodingKey::from_secret(b"unused"),
        public,
    }
}

/// A number as a JWK has it: without zeros before it, but a coordinate has 32 bytes.
fn number(number: &LargeInteger, length: usize) -> String {
    let start = number.iter().position(|digit| *digit != 0).unwrap_or(0);
    let digits = &number[start..];
    let zeros = vec![0; length.saturating_sub(digits.len())];
    URL_SAFE_NO_PAD.encode([&zeros, digits].concat())
}

/// Compares the verdict on a vector. Returns whether it could be compared: what a JWT signs is text.
fn agrees(key: &Key, id: usize, message: &[u8], signature: &[u8], result: TestResult) -> bool {
    let (Ok(message), true) = (std::str::from_utf8(message), result != TestResult::Acceptable) else { return false };
    // Of the two forms of an ES256 signature, only the one with the low s is accepted.
    let is_ours = key.algorithm != Algorithm::Es256 || low_s::is_low(signature);
    let expected = result == TestResult::Valid && is_ours;
    assert_eq!(key.verify(message, &URL_SAFE_NO_PAD.encode(signature)), expected, "{:?} {id}", key.algorithm);
    true
}

#[test]
fn es256_signatures_are_judged_as_wycheproof_says() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let compared = set.test_groups.iter().map(|group| {
        let (x, y) = (number(&group.key.affine_x, 32), number(&group.key.affine_y, 32));
        let key = key(Algorithm::Es256, DecodingKey::from_ec_components(&x, &y).unwrap());
        group.tests.iter().filter(|test| agrees(&key, test.tc_id, &test.msg, &test.sig, test.result)).count()
    });
    assert!(compared.sum::<usize>() > 100);
}

#[test]
fn eddsa_signatures_are_judged_as_wycheproof_says() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let compared = set.test_groups.iter().map(|group| {
        let x = number(&group.jwk.x, 32);
        let key = key(Algorithm::EdDsa, DecodingKey::from_ed_components(&x).unwrap());
        group.tests.iter().filter(|test| agrees(&key, test.tc_id, &test.msg, &test.sig, test.result)).count()
    });
    assert!(compared.sum::<usize>() > 50);
}

#[test]
fn rs256_signatures_are_judged_as_wycheproof_says() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    for name in [TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256] {
        let set = TestSet::load(name).unwrap();
        let compared = set.test_groups.iter().map(|group| {
            let (n, e) = (number(&group.key.n, 0), number(&group.key.e, 0));
            let key = key(Algorithm::Rs256, DecodingKey::from_rsa_components(&n, &e).unwrap());
            group.tests.iter().filter(|test| agrees(&key, test.tc_id, &test.msg, &test.sig, test.result)).count()
        });
        assert!(compared.sum::<usize>() > 100, "{name:?}");
    }
}

#[test]
fn hs256_tags_are_judged_as_wycheproof_says() {
    use wycheproof::mac::{TestName, TestSet};
    let set = TestSet::load(TestName::HmacSha256).unwrap();
    // A JWT has the whole tag.
    let groups = set.test_groups.iter().filter(|group| group.tag_size == 256);
    let compared = groups.flat_map(|group| &group.tests).filter(|test| {
        let key = key(Algorithm::Hs256, DecodingKey::from_secret(&test.key));
        agrees(&key, test.tc_id, &test.msg, &test.tag, test.result)
    });
    assert!(compared.count() > 20);
}
