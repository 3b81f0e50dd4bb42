//! The parser of the `Authorization` header, with arbitrary input.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::auth::Credential;
use countersign::error::Error;
use countersign::model::{OpaqueToken, PersonalSecret};
use proptest::prelude::*;
use secrecy::ExposeSecret;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_parsed_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Credential::parse(&bytes);
    }

    #[test]
    fn any_value_after_a_known_scheme_is_parsed_or_refused(scheme in "(?i)basic|bearer", value in "\\PC{0,80}") {
        let _ = Credential::parse(format!("{scheme} {value}").as_bytes());
    }

    #[test]
    fn username_and_password_round_trip(name in "[^:\\pC]{1,20}", password in "[^\\pC]{1,20}") {
        let header = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        match Credential::parse(header.as_bytes()) {
            Ok(Credential::Basic { username, password: read }) => {
                prop_assert_eq!(username.as_str(), name);
                prop_assert_eq!(read.expose_secret(), password);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_control_character_anywhere_is_refused(name in "[a-z]{1,8}", c in "\\p{Cc}", password in "[a-z]{1,8}") {
        for text in [format!("{name}{c}:{password}"), format!("{name}:{c}{password}")] {
            let header = format!("Basic {}", STANDARD.encode(text));
            prop_assert!(Credential::parse(header.as_bytes()).is_err());
        }
    }

    #[test]
    fn an_opaque_token_has_one_spelling(random in any::<[u8; 16]>()) {
        let text = OpaqueToken::new(random).reveal();
        prop_assert!(OpaqueToken::parse(&text).is_some());
        let upper = text.to_uppercase();
        prop_assert!(upper == text || OpaqueToken::parse(&upper).is_none());
        for other in [text.replace('-', ""), format!("{{{text}}}"), format!("urn:uuid:{text}"), format!(" {text}"), format!("{text}\0")] {
            prop_assert!(OpaqueToken::parse(&other).is_none(), "{}", other);
        }
    }

    #[test]
    fn three_base64url_parts_are_a_jwt_and_nothing_else_is(a in "[A-Za-z0-9_-]{1,30}", b in "[A-Za-z0-9_-]{1,30}", c in "[A-Za-z0-9_-]{1,30}") {
        let header = format!("bearer {a}.{b}.{c}");
        prop_assert!(matches!(Credential::parse(header.as_bytes()), Ok(Credential::Jwt(_))));
        for other in [format!("{a}.{b}"), format!("{a}.{b}.{c}.{a}"), format!("{a}..{c}"), format!("{a}.{b}.{c}="), format!("{a}.{b} .{c}")] {
            let header = format!("Bearer {other}");
            prop_assert!(Credential::parse(header.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_parsed_credential_does_not_print_its_secret(password in "canary-[a-z]{8}") {
        let (basic, uuid) = (STANDARD.encode(format!("name:{password}")), "20f876eb-15be-4640-a308-82467d1d331a");
        for header in [format!("Basic {basic}"), format!("Bearer {password}.b.c"), format!("Bearer {uuid}")] {
            let credential = Credential::parse(header.as_bytes()).unwrap();
            let printed = format!("{credential:?}");
            prop_assert!(![&password, "name", uuid].iter().any(|secret| printed.contains(*secret)), "{}", printed);
        }
    }
}

#[test]
fn a_value_that_is_not_utf_8_is_an_invalid_credential() {
    assert!(matches!(Credential::parse(b"Basic \xff\xfe"), Err(Error::InvalidCredentials)));
    assert!(matches!(Credential::parse(b"Bearer \xff\xfe"), Err(Error::InvalidToken)));
    assert!(matches!(Credential::parse(b"Bear\xffer x"), Err(Error::Unauthenticated)));
}

#[test]
fn a_credential_is_printed_as_its_kind_alone() {
    let basic = format!("Basic {}", STANDARD.encode("canary:canary-password"));
    let opaque = format!("Bearer {}", OpaqueToken::new([7; 16]).reveal());
    let personal = format!("Bearer {}", PersonalSecret::new([7; 32]).reveal());
    for (header, printed) in [
        (basic.as_str(), "Basic(..)"),
        (&opaque, "Opaque(..)"),
        ("Bearer canary.canary.canary", "Jwt(..)"),
        (&personal, "Personal(..)"),
    ] {
        assert_eq!(format!("{:?}", Credential::parse(header.as_bytes()).unwrap()), printed);
    }
}
