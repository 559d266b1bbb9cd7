//! Numbers and tables as people read them. It knows no command.

/// Bytes with a binary unit: `98.0 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes;
    let mut rest = 0;
    let mut unit = "B";
    for larger in UNITS {
        if scaled < 1024 {
            break;
        }
        rest = scaled % 1024;
        scaled /= 1024;
        unit = larger;
    }
    match unit {
        "B" => format!("{scaled} B"),
        _ => format!("{scaled}.{} {unit}", rest * 10 / 1024),
    }
}

/// Seconds as `1h 2m`, `3m 4s` or `5s`.
pub(super) fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Rows under a heading, columns aligned; ends with a line feed.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    all().map(line).collect()
}

/// Text from elsewhere on one line of a terminal: control characters (which could move the
/// cursor or change its state) become spaces.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The same for text of several lines: line feeds and tabs stay.
pub(super) fn printable_lines(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(|c| harmless(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(98 << 20), "98.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!(seconds(59), "59s");
        assert_eq!(seconds(3725), "1h 2m");
        assert_eq!(seconds(90_000), "1d 1h");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            ["a".to_owned(), "long".to_owned()],
            ["bbb".to_owned(), "x".to_owned()],
        ];
        assert_eq!(table(["N", "M"], &rows), "N    M\na    long\nbbb  x\n");
    }

    #[test]
    fn a_models_text_cannot_steer_the_terminal() {
        assert_eq!(printable_lines("a\x1b[2Jb\nc\td\r"), "a[2Jb\nc\td");
        assert_eq!(printable("a\nb"), "a b");
    }
}
