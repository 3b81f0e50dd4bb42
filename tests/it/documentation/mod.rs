//! `docs/`: the commands of the guides, the code in them, and the pages that are generated from the code.

mod code;
mod guides;
mod reference;

use std::fs;

/// A fenced block of a Markdown document.
struct Block {
    /// What follows the opening fence, such as `sh`.
    language: String,
    text: String,
    /// Whether only an empty line is between the block before and this one.
    is_adjacent: bool,
}

/// The fenced blocks of a document.
fn blocks(document: &str) -> Vec<Block> {
    let mut parts = document.split("```");
    let mut blocks = Vec::new();
    while let (Some(before), Some(block)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        let is_adjacent = !blocks.is_empty() && before.trim().is_empty();
        blocks.push(Block { language: language.to_owned(), text: text.to_owned(), is_adjacent });
    }
    blocks
}

fn guide(name: &str) -> String {
    fs::read_to_string(format!("docs/guides/{name}.md")).unwrap()
}
