use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::tz::Offset;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time in whole milliseconds since the Unix epoch, 1970-01-01 UTC. It displays as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds since the epoch; 0 for an earlier time.
    pub fn as_unix_millis(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// Whole seconds since the epoch, rounded down: the `NumericDate` of RFC 7519.
    pub fn as_unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Converts seconds since the epoch; saturates on overflow.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Calls `show` with the time in RFC 3339, to milliseconds. Every response and log line has one, so the digits are
    /// written by hand, in half the time of jiff's general formatter.
    fn with_rfc3339<T>(self, show: impl FnOnce(&str) -> T) -> T {
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

    /// Subtracts `duration`; saturates on overflow.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Adds `duration`; saturates on overflow.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_rfc3339(|text| f.write_str(text))
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
        self.with_rfc3339(|text| serializer.serialize_str(text))
    }
}

/// The source of time: the system clock, or a manual clock for tests.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system clock.
    #[default]
    System,
    /// Stays at these milliseconds since the epoch until a test sets it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
            Self::System => Timestamp(jiff::Timestamp::now().as_millisecond()),
            Self::Manual(millis) => Timestamp(millis.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_formatted_as_jiff_formats_it_and_parsed_back() {
        let day = 86_400_000;
        let from = jiff::Timestamp::MIN.as_millisecond() + 1;
        let times = (from..jiff::Timestamp::MAX.as_millisecond()).step_by(day * 97 + 12_345_678);
        for millis in times.chain([0, -1, 1, 999, 951_782_399_999, 951_868_800_000]) {
            let shown = Timestamp(millis).to_string();
            assert_eq!(shown, format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap()));
            assert_eq!(shown.parse::<Timestamp>().unwrap(), Timestamp(millis));
            assert_eq!(serde_json::to_value(Timestamp(millis)).unwrap(), shown.as_str());
        }
    }
}
