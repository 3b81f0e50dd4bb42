//! Pages of a list.

/// Cuts off the row that was read beyond `limit` to learn whether there are more. Returns whether there are.
pub fn cut_to<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}
