//! Times and sizes as people tell them.

/// Two units at most; more would not be read.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64; // a clock that was set back
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{days} d {} h", hours % 24),
    }
}

/// In powers of 1024.
pub(super) fn bytes_text(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let step = (0..UNITS.len() - 1).rev().find(|step| count >> (10 * (step + 1)) > 0);
    match step {
        None => format!("{count} B"),
        Some(step) => {
            let value = count as f64 / f64::powi(1024.0, step as i32 + 1);
            format!("{value:.1} {}", UNITS[step + 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_as_people_do() {
        for (seconds, told) in [
            (-3.0, "0 s"),
            (0.4, "0 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (3_725.0, "1 h 2 min"),
            (180_000.0, "2 d 2 h"),
        ] {
            assert_eq!(duration(seconds), told);
        }
        for (count, told) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (5 << 40, "5120.0 GiB"),
        ] {
            assert_eq!(bytes_text(count), told);
        }
    }
}
