//! Pages of a list.

/// Truncates `rows` to `limit`. Queries read one row more than the limit, so it returns whether a next page exists.
pub fn cut_to<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}
