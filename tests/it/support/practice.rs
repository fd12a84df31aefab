//! The configuration of a dialogue: a practice, with single lines over it.

use toml_edit::{DocumentMut, Item, TableLike};

/// `tests/transcripts/practice.toml` with these lines of TOML over it, each of them whole:
/// `policy.mode = "observe"` changes one key and leaves the rest of its table.
pub(crate) fn configured(lines: &[String]) -> Result<String, String> {
    over(include_str!("../../transcripts/practice.toml"), lines)
}

/// Any configuration with lines over it.
pub(crate) fn over(text: &str, lines: &[String]) -> Result<String, String> {
    let read = |text: &str| text.parse::<DocumentMut>().map_err(|error| error.to_string());
    let mut whole = read(text)?;
    for line in lines {
        lay_over(whole.as_table_mut(), read(line)?.as_table());
    }
    Ok(whole.to_string())
}

fn lay_over(below: &mut dyn TableLike, above: &dyn TableLike) {
    for (key, item) in above.iter() {
        let both = (below.get_mut(key).and_then(Item::as_table_like_mut), item.as_table_like());
        if let (Some(below), Some(above)) = both {
            lay_over(below, above);
        } else {
            below.insert(key, item.clone());
        }
    }
}
