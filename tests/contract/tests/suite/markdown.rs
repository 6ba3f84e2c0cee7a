//! As much of Markdown as the documents are written in.

/// The rows of the table with this header, without it; a cell is its text.
pub fn table(text: &str, header: &[&str]) -> Vec<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| cells(line) != header).skip(2);
    let rows: Vec<Vec<String>> = lines.by_ref().map_while(|line| line.starts_with('|').then(|| cells(line))).collect();
    assert!(!rows.is_empty(), "there is no table {header:?}");
    assert!(rows.iter().all(|row| row.len() == header.len()), "{rows:?}");
    rows
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What is set as code.
pub fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The first block of code.
pub fn first_block(text: &str) -> &str {
    text.split("```").nth(1).expect("there is a block of code")
}

/// The words of a text, `_` being a letter.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}
