//! Days and months of a time (UTC).

use crate::seam::Millis;

/// Milliseconds.
pub(crate) const DAY_MS: Millis = 86_400_000;

/// The month of a time as YYYYMM (UTC).
pub(crate) fn month(now: Millis) -> u64 {
    let (year, month, _) = civil(now / DAY_MS);
    year * 100 + month
}

/// Year, month and day (from 1) of a day since 1970, by the proleptic Gregorian calendar.
pub(crate) fn civil(day: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, so that the leap day is the last of its year.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        let dates = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_778, (2026, 11, 21)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ];
        for (day, date) in dates {
            assert_eq!(civil(day), date, "day {day}");
        }
    }
}
