//! The configuration of a dialogue: a practice, with single lines over it.

use toml_edit::{DocumentMut, Item, TableLike};

/// `tests/transcripts/practice.toml` with these lines of TOML over it, each of them whole:
/// `policy.mode = "observe"` changes one key and leaves the rest of its table.
pub(crate) fn configured(lines: &[String]) -> Result<String, String> {
    let read = |text: &str| text.parse::<DocumentMut>().map_err(|error| error.to_string());
    let mut practice = read(include_str!("../transcripts/practice.toml"))?;
    for line in lines {
        lay_over(practice.as_table_mut(), read(line)?.as_table());
    }
    Ok(practice.to_string())
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
