//! The header `Accept` (RFC 9110): which of two media types of one resource a client prefers. Parameters other than
//! the weight are passed by, and so is what cannot be read.

/// How a client accepts a media type, by the range that names it most specifically: whether that is the type itself,
/// and the weight in thousandths. Nothing when none but `*/*` names it, or it is not wanted.
pub fn accepted(accept: &str, media_type: &str) -> Option<(bool, u16)> {
    let named = split(accept, ',').into_iter().filter_map(|range| matched(range, media_type));
    // Of two that are as specific the one of the higher weight.
    named.max().filter(|(_, weight)| *weight > 0)
}

fn matched(range: &str, media_type: &str) -> Option<(bool, u16)> {
    let parts = split(range, ';');
    let (name, parameters) = parts.split_first()?;
    let mut weight = 1000;
    for parameter in parameters {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("q")
        {
            weight = thousandths(value.trim())?;
        }
    }
    if name.eq_ignore_ascii_case(media_type) {
        return Some((true, weight));
    }
    let (sort, _) = media_type.split_once('/')?;
    let all = name.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(sort));
    all.then_some((false, weight))
}

/// A weight: from 0 to 1 with three places at the most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || places.len() > 3 || !places.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{places:0<3}").parse().ok().filter(|weight| *weight <= 1000)
}

/// The members of a list, without the spaces around them; what stands in quotes is not looked into.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let splits = move |char: char| {
        let splits = char == at && !quoted;
        if char == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && char == '\\' && !escaped;
        splits
    };
    text.split(splits).map(str::trim).filter(|member| !member.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_has_the_weight() {
        let html = |accept: &str| accepted(accept, "text/html").map(|(_, weight)| weight);
        for (accept, expected) in [
            ("text/html", Some(1000)),
            ("TEXT/HTML ; Q=0.25", Some(250)),
            ("text/*;q=0.5", Some(500)),
            ("text/*, text/html;q=0", None),
            ("text/html;q=0.3, text/*;q=0.9", Some(300)),
            ("text/plain, , ,text/html;charset=utf-8;q=0.7", Some(700)),
            ("a/b;c=\"text/html,\\\",text/html\", text/htm", None),
            ("a/b;c=\",\";q=0, text/html", Some(1000)),
            ("*/*", None),
            ("*", None),
            ("", None),
            ("application/xhtml+xml", None),
            ("text/html-other, texts/html", None),
        ] {
            assert_eq!(html(accept), expected, "{accept}");
        }
    }

    #[test]
    fn weights_have_three_places_and_end_at_one() {
        for (text, expected) in [("1", 1000), ("0", 0), ("0.", 0), ("1.000", 1000), ("0.5", 500), ("0.015", 15)] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        for wrong in ["", "1.001", "2", "0.1234", ".5", "-1", "0.+5", "0.5x", "1,0"] {
            assert_eq!(thousandths(wrong), None, "{wrong}");
        }
    }
}
