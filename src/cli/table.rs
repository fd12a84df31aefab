//! Columns for a terminal.

/// Rows as lines: each column as wide as its widest cell, two blanks between, none at the end.
pub(super) fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

/// The same, for a screen of this width: where a row does not fit, its last cell stands on lines of
/// its own below it.
pub(super) fn fitting(rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let whole = lines(rows);
    let fits = |line: &String| width.is_none_or(|width| line.chars().count() <= width);
    if whole.iter().all(fits) {
        return whole;
    }
    let width = width.unwrap_or(usize::MAX).saturating_sub(BELOW.len()).max(20);
    let (mut heads, mut tails) = (rows.to_vec(), Vec::new());
    for row in &mut heads {
        tails.push(row.pop().unwrap_or_default());
    }
    let mut all = Vec::new();
    for ((whole, head), tail) in whole.into_iter().zip(lines(&heads)).zip(tails) {
        if fits(&whole) {
            all.push(whole);
        } else {
            all.push(head);
            all.extend(wrapped(&tail, width).into_iter().map(|line| format!("{BELOW}{line}")));
        }
    }
    all
}

/// Before what stands below its row.
const BELOW: &str = "    ";

/// A text in lines of this width, broken between words; a longer word stays whole.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let rows = [row(&["a", "lang", "x"]), row(&["Müller", "b", ""]), row(&["c"])];
        assert_eq!(lines(&rows), ["a       lang  x", "Müller  b", "c"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn what_does_not_fit_stands_below() {
        let rows = [["10:03", "PC1", "eins zwei drei vier fuenf"], ["10:04", "PC22", "sechs"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.map(String::from).to_vec()).collect();
        assert_eq!(fitting(&rows, Some(40)), lines(&rows));
        assert_eq!(fitting(&rows, None), lines(&rows));
        assert_eq!(
            fitting(&rows, Some(24)),
            ["10:03  PC1", "    eins zwei drei vier", "    fuenf", "10:04  PC22  sechs"]
        );
    }
}
