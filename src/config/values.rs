//! How the values of settings are read. Each function's error is the second half of a sentence that begins with the name of the
//! setting, and says what to write instead.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::error::StartError;
use crate::model::Networks;

/// A duration, or `off`. The alias keeps clap from taking it for a setting that may be missing.
pub type OrOff = Option<Duration>;

/// A time, or `auto`.
pub type OrAuto = Option<Duration>;

/// An address, or `off`.
pub type AddressOrOff = Option<SocketAddr>;

/// A number, or `off`.
pub type NumberOrOff = Option<u32>;

/// One for each core: every core is busy, and no hash waits for another.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The first line of the file that a variable of this name names.
pub fn first_line(variable: &str, file: &Path) -> Result<SecretString, StartError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        StartError::setting(
            variable,
            format_args!("{} cannot be read ({error}); name a file with the secret", file.display()),
        )
    })?;
    Ok(text.lines().next().unwrap_or_default().into())
}

pub fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

pub fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

pub fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:5000, 0.0.0.0:5000 or [::1]:5000")
}

pub fn metrics_listen(text: &str) -> Result<AddressOrOff, &'static str> {
    if ["off", ""].contains(&text) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "must be off, or an address and a port, such as 127.0.0.1:5001 or [::1]:5001")
}

/// An empty text is none, because compose files and `.env` leave a setting out that way.
pub fn address(text: &str) -> Result<String, &'static str> {
    let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    if text.is_empty() {
        return Ok(String::new());
    }
    let clean =
        !address.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#' || c == '?');
    if clean { Ok(text.to_owned()) } else { Err("must be an http or https address, such as https://auth.example.com") }
}

pub fn audience(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("must name whom the tokens are for, such as countersign or https://api.example.com");
    }
    Ok(text.to_owned())
}

pub fn service_name(text: &str) -> Result<String, &'static str> {
    let fits = !text.trim().is_empty() && text.len() <= 64 && !text.contains(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("must be a name of at most 64 bytes, such as Acme") }
}

/// A domain that others cannot have hosts in is not told from one they can, such as `co.uk`; browsers know, and refuse the cookie.
pub fn cookie_domain(text: &str) -> Result<String, &'static str> {
    let is_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_clean = text.contains('.') && !text.starts_with('.') && !text.ends_with('.') && text.bytes().all(is_domain);
    let fits = text.is_empty() || (is_clean && text.parse::<std::net::IpAddr>().is_err());
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be a domain with a dot in it and none before it, such as example.com")
    }
}

pub fn mail_language(text: &str) -> Result<String, &'static str> {
    let is_name =
        (2..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_name { Ok(text.to_owned()) } else { Err("must be the name of a language, such as en, de or pt-BR") }
}

pub fn on_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off"),
    }
}

/// A hundred years, the longest anything lives.
const LONGEST: u64 = 36_500 * 86_400;

/// From a second to a hundred years, whole seconds, as JWTs count.
pub fn lifetime(text: &str) -> Result<Duration, &'static str> {
    seconds(text, 1, LONGEST, "must be from 1s to 36500d, written like 30m, 12h or 30d")
}

pub fn seconds(text: &str, least: u64, most: u64, mend: &'static str) -> Result<Duration, &'static str> {
    let duration = humantime::parse_duration(text).map_err(|_| mend)?;
    let fits = (least..=most).contains(&duration.as_secs()) && duration.subsec_nanos() == 0;
    if fits { Ok(duration) } else { Err(mend) }
}

pub fn trusted_proxies(text: &str) -> Result<Networks, &'static str> {
    text.parse().map_err(|_| "must be networks or addresses with commas between, such as 10.0.0.0/8,fd00::/8")
}

pub fn or_off(text: &str, least: u64, mend: &'static str) -> Result<OrOff, &'static str> {
    if text == "off" { Ok(None) } else { seconds(text, least, LONGEST, mend).map(Some) }
}

pub fn drain_time(text: &str) -> Result<OrAuto, &'static str> {
    let mend = "must be auto, or from 0s to 5m, written like 5s";
    if text == "auto" { Ok(None) } else { seconds(text, 0, 300, mend).map(Some) }
}

/// Other servers hear of a use after some seconds.
pub fn idle_ttl(text: &str) -> Result<OrOff, &'static str> {
    or_off(text, 300, "must be off, or from 5m to 36500d, written like 30m, 12h or 7d")
}

/// A key is public for eleven minutes before it signs.
pub fn key_rotation(text: &str) -> Result<OrOff, &'static str> {
    or_off(text, 3600, "must be off, or from 1h to 36500d, written like 12h or 30d")
}

pub fn audit_retention(text: &str) -> Result<OrOff, &'static str> {
    or_off(text, 86_400, "must be off, or from 1d to 36500d, written like 90d or 365d")
}

pub fn personal_token_ttl(text: &str) -> Result<OrOff, &'static str> {
    let mend = "must be never, or from 1s to 36500d, written like 12h or 90d";
    if text == "never" { Ok(None) } else { seconds(text, 1, LONGEST, mend).map(Some) }
}

pub fn status_ttl(text: &str) -> Result<Duration, &'static str> {
    seconds(text, 1, 86_400, "must be from 1s to 1d, written like 30s, 1m or 1h")
}

pub fn sessions_per_user(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|number| (1..=1000).contains(number)).ok_or("must be a whole number from 1 to 1000")
}

pub fn import_max_cost(text: &str) -> Result<u32, &'static str> {
    let factor = text.parse().ok().filter(|number| (1..=1000).contains(number));
    factor.ok_or("must be a whole number from 1 to 1000; 32 is a good figure")
}

/// Origins (RFC 6454). The alias keeps clap from taking it for a setting that may come several times.
pub type Origins = Vec<String>;

pub fn origins(text: &str) -> Result<Origins, &'static str> {
    let mend = "must be origins with commas between, such as https://app.example.com,http://localhost:3000";
    let is_origin = |origin: &str| {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).unwrap_or_default();
        let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte);
        !host.is_empty() && host.bytes().all(is_lower)
    };
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    origins.map(|origin| if is_origin(origin) { Ok(origin.to_owned()) } else { Err(mend) }).collect()
}

fn number_or_off(text: &str, mend: &'static str) -> Result<NumberOrOff, &'static str> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().ok().filter(|number| (1..=1000).contains(number)).map(Some).ok_or(mend)
}

pub fn limit_burst(text: &str) -> Result<NumberOrOff, &'static str> {
    number_or_off(text, "must be off, or a whole number from 1 to 1000; 10 is a good figure")
}

pub fn connections_per_address(text: &str) -> Result<NumberOrOff, &'static str> {
    number_or_off(text, "must be off, or a whole number from 1 to 1000; 200 is a good figure")
}

pub fn limit_refill(text: &str) -> Result<Duration, &'static str> {
    seconds(text, 1, 86_400, "must be from 1s to 1d, written like 6s, 1m or 1h")
}

/// A number from 0 to 1.
pub fn share(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or("must be a number from 0 to 1, such as 0.05")
}

pub fn number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "must be a whole number")
}

pub fn between(text: &str, least: usize, most: usize, mend: &'static str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or(mend)
}

pub fn password_min_length(text: &str) -> Result<usize, &'static str> {
    between(text, 1, 128, "must be a whole number from 1 to 128; 8 is the least that is advised")
}

pub fn hash_workers(text: &str) -> Result<usize, &'static str> {
    if text.is_empty() {
        return Ok(cores());
    }
    between(text, 1, 1024, "must be a whole number from 1 to 1024; one a core is best")
}

pub fn hash_queue(text: &str) -> Result<usize, &'static str> {
    between(text, 1, 100_000, "must be a whole number from 1 to 100000")
}

pub fn credential_cache(text: &str) -> Result<usize, &'static str> {
    between(text, 0, 10_000_000, "must be a whole number from 0, which keeps none, to 10000000")
}
