/// A setting as it was given, for people who look after the service.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The subject, such as `Passwords`.
    pub heading: String,
    /// The variable.
    pub variable: String,
    /// What it is for.
    pub about: String,
    /// The value; none when nothing was given, and always none of a secret.
    pub value: Option<String>,
    /// Whether it is a secret.
    pub is_secret: bool,
    /// Whether nobody has set it.
    pub is_default: bool,
}
