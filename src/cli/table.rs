//! Plain-text tables for the terminal.

/// Formats rows under a header, each column as wide as its widest cell.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(header.map(ToOwned::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.iter().map(|row| line(row, widths)).collect()
}

/// Formats one row with fixed widths, for paged lists whose widest cell is not known in advance.
pub fn line<const N: usize>(cells: &[impl AsRef<str>; N], widths: [usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line += &format!("{:<width$}  ", cell.as_ref());
    }
    line.trim_end().to_owned() + "\n"
}

/// Formats an optional value; `-` stands for none.
pub fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
