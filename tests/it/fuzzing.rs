//! What `scripts/fuzz` looks for with coverage, on stable Rust: no input of the corpus breaks a property, nor does a change of
//! one, nor do arbitrary bytes.

use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

#[path = "../../fuzz/src/lib.rs"]
mod properties;

/// How often each property is tried.
const CASES: u32 = 5000;

/// The inputs of a property that the fuzzer starts from.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = format!("fuzz/corpus/{name}");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A change of one input: bytes of another one, or arbitrary ones, in place of some of its own.
fn changed(corpus: &[Vec<u8>]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let pick = || prop::sample::select(corpus.to_vec());
    let inserted = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        "[ -~]{0,3}".prop_map(String::into_bytes),
        (pick(), any::<[Index; 2]>()).prop_map(|(other, ends)| {
            let [a, b] = ends.map(|end| end.index(other.len() + 1));
            other[a.min(b)..a.max(b)].to_vec()
        }),
    ];
    (pick(), any::<Index>(), 0..4_usize, inserted).prop_map(|(mut input, place, removed, inserted)| {
        let start = place.index(input.len() + 1);
        let end = input.len().min(start + removed);
        input.splice(start..end, inserted);
        input
    })
}

fn hold(name: &str) {
    let property = properties::PROPERTIES.iter().find(|(known, _)| *known == name).unwrap().1;
    let corpus = corpus(name);
    corpus.iter().for_each(|input| property(input));
    let input = prop_oneof![3 => changed(&corpus), 1 => prop::collection::vec(any::<u8>(), 0..200)];
    let mut runner =
        TestRunner::new(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() });
    let held = runner.run(&input, |input| {
        property(&input);
        Ok(())
    });
    held.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn the_fuzzer_starts_from_a_jwt_that_is_accepted() {
    assert!(properties::accepts_jwt(&fs::read("fuzz/corpus/jwt/whole").unwrap()));
}

macro_rules! tests {
    ($(fn $test:ident() = $property:literal;)*) => {
        $(#[test]
        fn $test() {
            hold($property);
        })*

        #[test]
        fn every_property_has_a_test() {
            assert_eq!([$($property),*], properties::PROPERTIES.map(|(name, _)| name));
        }
    };
}

tests! {
    fn any_authorization_header_is_refused_or_read_in_one_way() = "authorization";
    fn any_signed_jwt_is_refused_unless_all_of_it_is_right() = "jwt";
    fn any_personal_token_has_one_spelling() = "personal_token";
    fn any_forwarded_headers_count_only_by_their_trusted_end() = "forwarded_headers";
    fn any_stored_hash_is_refused_or_within_the_limits() = "password_hash";
    fn any_csv_import_gives_rows_in_order_or_an_error() = "import_csv";
    fn any_ndjson_import_gives_rows_in_order_or_an_error() = "import_ndjson";
    fn any_body_is_accepted_or_refused_without_a_fault() = "body";
    fn any_query_is_accepted_or_refused_without_a_fault() = "query";
}
