use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::tz::Offset;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in whole milliseconds since 1970-01-01 UTC. It is shown as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds since 1970; a moment before that counts as 1970.
    pub fn as_unix_millis(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// Whole seconds since 1970, rounded down: the `NumericDate` of RFC 7519.
    pub fn as_unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The moment that many seconds after 1970; one too far away to count is the last there is.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Shows it as RFC 3339, to milliseconds. Every answer and each line of the log has some, so they are written digit by
    /// digit, in half the time the formatter for anything takes.
    fn shown<T>(self, show: impl FnOnce(&str) -> T) -> T {
        let Ok(time) = jiff::Timestamp::from_millisecond(self.0) else {
            return show(if self.0 < 0 { "-009999-01-01T00:00:00Z" } else { "9999-12-31T23:59:59Z" });
        };
        let utc = Offset::UTC.to_datetime(time);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let numbers = [
            (0..4, utc.year()),
            (5..7, utc.month().into()),
            (8..10, utc.day().into()),
            (11..13, utc.hour().into()),
            (14..16, utc.minute().into()),
            (17..19, utc.second().into()),
            (20..23, utc.millisecond()),
        ];
        for (place, mut number) in numbers {
            for digit in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + (number % 10).unsigned_abs().to_le_bytes()[0];
                number /= 10;
            }
        }
        match std::str::from_utf8(&text) {
            Ok(text) if utc.year() >= 0 => show(text),
            _ => show(&format!("{time:.3}")),
        }
    }

    /// That long before this moment; it stops at the beginning of time.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment and a while; it stops at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown(|text| f.write_str(text))
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_millisecond()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown(|text| serializer.serialize_str(text))
    }
}

/// Where the time comes from: the machine's clock, or one that a test turns by hand.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Stands at the milliseconds it holds until someone sets it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
            Self::System => Timestamp(jiff::Timestamp::now().as_millisecond()),
            Self::Manual(millis) => Timestamp(millis.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_as_the_library_shows_it_and_read_again() {
        let day = 86_400_000;
        let from = jiff::Timestamp::MIN.as_millisecond() + 1;
        let moments = (from..jiff::Timestamp::MAX.as_millisecond()).step_by(day * 97 + 12_345_678);
        for millis in moments.chain([0, -1, 1, 999, 951_782_399_999, 951_868_800_000]) {
            let shown = Timestamp(millis).to_string();
            assert_eq!(shown, format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap()));
            assert_eq!(shown.parse::<Timestamp>().unwrap(), Timestamp(millis));
            assert_eq!(serde_json::to_value(Timestamp(millis)).unwrap(), shown.as_str());
        }
    }
}
