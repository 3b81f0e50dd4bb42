//! The formats of stored hashes, and which passwords match them.

use super::*;
use crate::auth::passwords::hash_scheme::bcrypt;

fn parse(text: &str) -> Option<ParsedHash> {
    ParsedHash::parse(&PasswordHash(text.to_owned()))
}

/// Hashes of `my-password` by Werkzeug 3.1, Django 5.2, passlib 1.7 and bcrypt 5.0, at a low cost. The integration
/// tests run these libraries to make more.
const WRITTEN: [&str; 15] = [
    "scrypt:1024:8:1$C0W6EVUFksOoWM4D$862da8804c6834307d321640b68ef086c81a3a76d397b278c09495f82fea8c98\
     5d47ec391110f6f9f08ba32aaffa52fe9fcedb4ed47cd0a4b103ebbe45f7c242",
    "pbkdf2:sha256:1000$nxUst4XxMQKHyBQn$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80",
    "pbkdf2:sha512:1000$PF2jkfBE2OPooYU3$6915295ecc9ea8c5968bbb04150c98b03c9f099f841e4fe8fd3216f547ef95cb\
     dacfb19bf78f6bfec55678060ea1a2b58d2f578e1c04028620f2f9adfb30489a",
    "pbkdf2_sha256$1000$somesalt$aqusDOCYp2m+J7gNDpSViXOWSnXnLj02rdU+gCrGf18=",
    "pbkdf2_sha1$1000$somesalt$cjH9E9zfVUC5RykaP43plbIShWI=",
    "bcrypt_sha256$$2b$04$VQvKUPJv80h3xaR4adQ/xuIGq3j0Wc8WLfoUJJVjqtJjvRWkwoUlu",
    "bcrypt$$2b$04$ErCwoEqpnG9XlenwtvboGuayhQtMVIp7PjbqeQO.R40xx.PAMZ3zK",
    "scrypt$1024$somesalt$8$5$\
     KhcE47ZQ8hBNc5yypn7DgHCOj+slcYpq/qU/3NH+8BaKkPP0GInW6GR24aebQv9/OG5ACPfGzSqnkceEarRLlg==",
    "argon2$argon2id$v=19$m=64,t=2,p=8$Rm5qNUR4MVl6eURLTjFwMGE0YVZDZA$\
     fvrS0eWN2q7sp7ok5m/sNv9MV/KbjHk6IMvMEpvIn5c",
    "$2b$04$2kzMeMZYzNSf4kGPdKHkouu4LBKJ6ygh6LNuWyDlPFWAs/SiBqdv6",
    "$2a$04$kuUVrRoog4bCQvVSxKKlr./qvFwdYVEPceRs5VGN7DO1X0XA7P8YG",
    "$pbkdf2-sha256$1000$ay2FsBZirHWOUWpt7Z3zPg$iG925JVjU8t1.8iyDtmdnlb0u0T/nlWezeXDiEgwhWU",
    "$pbkdf2-sha512$1000$POfce6.1ttYaY.xd633PGQ$\
     uxCePj3ATQEIWABm9YbnRroffl4oacfO.L0C/jl1PSxhz2yMeweRC0q3WRUwFVqdss.RCz/4.MfD.vuP7RuwDQ",
    "$scrypt$ln=10,r=8,p=1$JYTwvvf+H4MQ4vyfkxIiBA$O2QZuwwQlzKlM3z875xczkksssr68P0+nstaSDXGiho",
    "$argon2id$v=19$m=64,t=1,p=2$iRFiLCXkXCuFUMq5Vyrl3A$MMwRgXqfiAk5iQptCpsUGiaH9IY9YUVToMQNZgKkPmg",
];

#[test]
fn a_hash_of_other_software_matches_only_its_password() {
    let mut memory = Memory::new();
    for text in WRITTEN {
        let stored = parse(text).unwrap_or_else(|| panic!("{text}"));
        assert!(stored.verify(&mut memory, b"my-password"), "{text}");
        for wrong in ["my-passwore", "my-passwor", "my-password ", ""] {
            assert!(!stored.verify(&mut memory, wrong.as_bytes()), "{text} {wrong}");
        }
        assert!(!ParsedHash::dummy(stored.scheme).verify(&mut memory, b"my-password"), "{text}");
    }
}

#[test]
fn bcrypt_uses_the_first_72_bytes_and_rejects_a_nul() {
    let long = ParsedHash {
        scheme: HashScheme::Bcrypt { cost: 4, of_sha256: false },
        salt: vec![1; BCRYPT_SALT],
        output: bcrypt(4, false, &[b'a'; 72], &[1; BCRYPT_SALT]).unwrap()[..BCRYPT_OUTPUT].to_vec(),
    };
    let mut memory = Memory::new();
    assert!(long.verify(&mut memory, &[b'a'; 80]));
    assert!(!long.verify(&mut memory, &[b'a'; 71]));
    assert!(!long.verify(&mut memory, &[[b'a'; 72].as_slice(), b"\0"].concat()));
}

#[test]
fn a_truncated_altered_or_unknown_hash_is_rejected() {
    for text in WRITTEN {
        assert!(parse(&text[..text.len() - 2]).is_none() || text.contains("argon2"), "{text}");
        assert!(parse(&text[..text.len() / 2]).is_none(), "{text}");
        assert!(parse(&format!("{text}$")).is_none(), "{text}");
        assert!(parse(&format!(" {text}")).is_none(), "{text}");
    }
    for text in [
        "",
        "$",
        "$$",
        "my-password",
        "plain$$my-password",
        "sha256$salt$aqusDOCYp2m",
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
        "pbkdf2:md5:1000$salt$5541388282ca1fbab072b9221045fe7f",
        "pbkdf2:sha256$salt$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80",
        "pbkdf2:sha256:+1$salt$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80",
        "scrypt:1000:8:1$salt$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80",
        "pbkdf2:sha256:1$salt$554138828",
        "pbkdf2_sha256$1$salt$YQ==",
        "$2x$04$2kzMeMZYzNSf4kGPdKHkouu4LBKJ6ygh6LNuWyDlPFWAs/SiBqdv6",
    ] {
        assert!(parse(text).is_none(), "{text}");
    }
    let salted = |salt: &str| {
        parse(&format!("pbkdf2:sha256:1${salt}$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80"))
    };
    assert!(salted("x").is_some() && salted(&"x".repeat(MAX_HASH_LEN)).is_none());
    // The rest of the text has 81 bytes.
    assert!(salted(&"x".repeat(431)).is_some() && salted(&"x".repeat(432)).is_none());
}

#[test]
fn a_hash_beyond_the_cost_limits_is_rejected() {
    let tail = "$salt$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80";
    for method in [
        "pbkdf2:sha256:0",
        "pbkdf2:sha256:10000001",
        "pbkdf2:sha256:99999999999",
        "scrypt:1:8:1",
        "scrypt:2097152:1:1",
        "scrypt:1048576:9:1",
        "scrypt:1048576:8:2",
        "scrypt:1024:4294967295:4294967295",
    ] {
        assert!(parse(&format!("{method}{tail}")).is_none(), "{method}");
    }
    for cost in ["00", "03", "16", "31", "99"] {
        assert!(parse(&format!("$2b${cost}$2kzMeMZYzNSf4kGPdKHkouu4LBKJ6ygh6LNuWyDlPFWAs/SiBqdv6")).is_none());
    }
    for params in ["m=1048577,t=1,p=1", "m=524288,t=3,p=1", "m=1024,t=1,p=65", "m=8,t=1,p=2"] {
        let rest = "iRFiLCXkXCuFUMq5Vyrl3A$MMwRgXqfiAk5iQptCpsUGiaH9IY9YUVToMQNZgKkPmg";
        assert!(parse(&format!("$argon2id$v=19${params}${rest}")).is_none(), "{params}");
    }
}
