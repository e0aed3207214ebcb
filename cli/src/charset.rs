//! The character set of the terminal, from the locale.

use std::env;
use std::sync::OnceLock;

/// Whether the terminal uses UTF-8, according to the locale. The locales
/// `C` and `POSIX`, and an unset locale, say nothing about the terminal, so UTF-8 is assumed.
pub(crate) fn is_utf8() -> bool {
    static IS_UTF8: OnceLock<bool> = OnceLock::new();
    *IS_UTF8.get_or_init(|| {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| env::var(name).ok());
        set.into_iter().find(|locale| !locale.is_empty()).is_none_or(|locale| is_utf8_in(&locale))
    })
}

/// A locale that names no character set, such as `de_DE`, implies one of 8 bits.
fn is_utf8_in(locale: &str) -> bool {
    let charset = locale.split_once('.').map(|(_, rest)| rest.split('@').next().unwrap_or(rest));
    match charset {
        Some(charset) => charset.replace('-', "").eq_ignore_ascii_case("utf8"),
        None => matches!(locale, "C" | "POSIX"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_utf8_in;

    #[test]
    fn the_character_set_is_the_end_of_the_locale() {
        for locale in ["C", "POSIX", "C.UTF-8", "de_DE.utf8", "de_DE.UTF-8@euro"] {
            assert!(is_utf8_in(locale), "{locale}");
        }
        for locale in ["de_DE", "de_DE@euro", "de_DE.ISO-8859-1", "ru_RU.KOI8-R", "C.ASCII"] {
            assert!(!is_utf8_in(locale), "{locale}");
        }
    }
}
