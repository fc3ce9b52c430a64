//! Figures as people read them.

/// Formats a duration in seconds by its two largest units: `1 h 5 min`, `12 s`, `3.4 ms`.
pub(crate) fn duration(seconds: f64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    if seconds < 0.000_5 {
        return format!("{:.0} µs", seconds.max(0.0) * 1e6);
    }
    if seconds < 0.1 {
        return format!("{:.1} ms", seconds * 1e3);
    }
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    // Saturates, as all casts from floats do.
    let whole = seconds as u64;
    match whole {
        0..MINUTE => format!("{whole} s"),
        MINUTE..HOUR => format!("{} min {} s", whole / MINUTE, whole % MINUTE),
        HOUR..DAY => format!("{} h {} min", whole / HOUR, whole % HOUR / MINUTE),
        _ => format!("{} d {} h", whole / DAY, whole % DAY / HOUR),
    }
}

/// Formats a number of bytes in decimal units: `999 B`, `1.2 kB`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut rest = bytes as f64 / 1e3;
    for unit in ["kB", "MB", "GB"] {
        if rest < 999.95 {
            return format!("{rest:.1} {unit}");
        }
        rest /= 1e3;
    }
    format!("{rest:.1} TB")
}

/// Formats a number with a thin space between thousands: `12 345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (0.0, "0 µs"),
            (0.000_25, "250 µs"),
            (0.003_44, "3.4 ms"),
            (0.25, "250 ms"),
            (1.9, "1 s"),
            (61.0, "1 min 1 s"),
            (3_900.0, "1 h 5 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0 µs"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn bytes_and_counts_are_short() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_234), "1.2 kB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18446744.1 TB");
        assert_eq!(count(7), "7");
        assert_eq!(count(12_345), "12\u{202f}345");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
