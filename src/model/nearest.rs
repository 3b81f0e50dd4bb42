//! What somebody may have meant by a name that is none.

/// How many letters may be added, left out, exchanged or swapped.
const MAX_EDITS: usize = 4;
/// Longer names are not compared: the work grows with the square of the length.
const MAX_LENGTH: usize = 64;

/// The known name that an unknown one is most like, if it is like one at all.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > MAX_LENGTH {
        return None;
    }
    // Of short names, half of the letters may not be exchanged.
    let most = MAX_EDITS.min(unknown.chars().count() / 2);
    let likeness = |known: &&str| (1000.0 * strsim::jaro_winkler(unknown, known)) as u32;
    known.into_iter().filter(|known| strsim::damerau_levenshtein(unknown, known) <= most).max_by_key(likeness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_recognized_and_another_name_is_not() {
        let known = ["username", "password", "email", "roles"];
        for (unknown, meant) in [
            ("usrname", Some("username")),
            ("user_name", Some("username")),
            ("pasword", Some("password")),
            ("role", Some("roles")),
            ("e-mail", Some("email")),
            ("id", None),
            ("is_admin", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, known), meant, "{unknown}");
        }
        assert_eq!(nearest(&"username".repeat(1000), known), None);
    }
}
