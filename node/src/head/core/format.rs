//! How a model writes tool calls and reasoning, told from its template's text.
//!
//! It owns the table of markers; it reads no answers and renders nothing.

/// What may follow an opening marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// A JSON object `{"name": …, "arguments": …}` or an array of them.
    Json,
    /// The same; else the function's name up to the arguments' `{`.
    JsonOrHeader,
    /// The same; else `<function=NAME>` with JSON or `<parameter=…>` inside.
    JsonOrFunction,
    /// The same; else the function's name on a line of its own and `<arg_key>` pairs.
    JsonOrArgKeys,
    /// `NAME>` with JSON or `<parameter=…>` inside: the marker was `<function=`.
    Function,
    /// `NAME">` and `<parameter name="…">` inside.
    Invoke,
    /// JSON as [`Body::Json`], taken only where it names a tool that was offered.
    Bare,
    /// Nothing: the marker is dropped.
    Noise,
}

/// A text that begins something other than prose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opener {
    pub(crate) text: &'static str,
    pub(crate) body: Body,
    /// Only where a line begins.
    pub(crate) at_line_start: bool,
    /// Texts that may follow a call and are dropped there.
    pub(crate) closers: &'static [&'static str],
}

const fn opener(text: &'static str, body: Body, closers: &'static [&'static str]) -> Opener {
    Opener {
        text,
        body,
        at_line_start: false,
        closers,
    }
}

const fn bare(text: &'static str, closers: &'static [&'static str]) -> Opener {
    Opener {
        text,
        body: Body::Bare,
        at_line_start: true,
        closers,
    }
}

const FUNCTION_END: &[&str] = &["</function>", "</tool_call>"];
const DEEPSEEK_END: &[&str] = &["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"];
const KIMI_END: &[&str] = &["<|tool_call_end|>", "<|tool_calls_section_end|>"];
const MINIMAX_END: &[&str] = &["</invoke>", "</minimax:tool_call>"];

/// JSON that stands alone; the last resort of every format.
const BARE: &[Opener] = &[
    bare("```json\n", &["```"]),
    bare("```tool_call\n", &["```"]),
    bare("```\n", &["```"]),
    bare("{", &[";"]),
    bare("[", &[]),
];

/// The way in which a model writes its tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolFormat {
    /// `<tool_call>{json}</tool_call>`: Hermes, Qwen; also what we teach models without a format.
    Hermes,
    /// `<tool_call><function=NAME><parameter=K>V</parameter></function></tool_call>`.
    QwenXml,
    /// `<tool_call>NAME\n<arg_key>K</arg_key><arg_value>V</arg_value></tool_call>`.
    Glm,
    /// `{"name": …, "parameters": {…}}`, sometimes after `<|python_tag|>`.
    Llama3,
    /// `[TOOL_CALLS][{json}, …]`.
    Mistral,
    /// `[TOOL_CALLS]NAME[ARGS]{json}`.
    MistralNamed,
    /// `<|tool_call|>[{json}, …]`: Granite, Phi-4-mini.
    TagArray,
    /// `<function=NAME>{json}</function>`.
    Functionary,
    /// `<｜tool▁calls▁begin｜>…`.
    DeepSeek,
    /// `<|tool_calls_section_begin|>…`.
    Kimi,
    /// `<minimax:tool_call><invoke name="NAME">…`.
    MiniMax,
    /// `<|START_ACTION|>[{"tool_name": …, "parameters": {…}}]<|END_ACTION|>`.
    CommandR,
    /// Harmony's channels.
    Harmony,
    /// None that we know: JSON that stands alone.
    Plain,
}

impl ToolFormat {
    /// The format of a template that knows tools, else [`Self::Plain`].
    pub fn detect(template: &str) -> Self {
        let has = |marker: &str| template.contains(marker);
        match () {
            () if has("<|channel|>") => Self::Harmony,
            () if has("<｜tool▁calls▁begin｜>") => Self::DeepSeek,
            () if has("<|tool_calls_section_begin|>") => Self::Kimi,
            () if has("<minimax:tool_call>") => Self::MiniMax,
            () if has("[TOOL_CALLS]") && has("[ARGS]") => Self::MistralNamed,
            () if has("[TOOL_CALLS]") => Self::Mistral,
            () if has("<|START_ACTION|>") => Self::CommandR,
            () if has("<tool_call>") && has("<arg_key>") => Self::Glm,
            () if has("<tool_call>") && has("<function=") => Self::QwenXml,
            () if has("<tool_call>") => Self::Hermes,
            () if has("<|tool_call|>") => Self::TagArray,
            () if has("<function=") => Self::Functionary,
            () if has("<|python_tag|>") || has("Environment: ipython") => Self::Llama3,
            () => Self::Plain,
        }
    }

    /// The markers to look for in an answer, those of Hermes too where they were taught.
    pub(crate) fn openers(self, taught: bool) -> Vec<Opener> {
        let mut openers = self.own_openers().to_vec();
        if taught && self != Self::Hermes {
            openers.extend_from_slice(Self::Hermes.own_openers());
        }
        openers.extend_from_slice(BARE);
        openers
    }

    fn own_openers(self) -> &'static [Opener] {
        match self {
            Self::Hermes | Self::QwenXml => {
                const {
                    &[
                        opener("<tool_call>", Body::JsonOrFunction, FUNCTION_END),
                        opener("<function=", Body::Function, FUNCTION_END),
                    ]
                }
            }
            Self::Glm => const { &[opener("<tool_call>", Body::JsonOrArgKeys, FUNCTION_END)] },
            Self::Llama3 => const { &[opener("<|python_tag|>", Body::Json, &[";"])] },
            Self::Mistral | Self::MistralNamed => {
                const { &[opener("[TOOL_CALLS]", Body::JsonOrHeader, &[])] }
            }
            Self::TagArray => {
                const {
                    &[
                        opener("<|tool_call|>", Body::Json, &["<|/tool_call|>"]),
                        opener("<tool_call>", Body::Json, &["</tool_call>"]),
                    ]
                }
            }
            Self::Functionary => {
                const { &[opener("<function=", Body::Function, &["</function>"])] }
            }
            Self::DeepSeek => {
                const {
                    &[
                        opener("<｜tool▁calls▁begin｜>", Body::JsonOrHeader, DEEPSEEK_END),
                        opener("<｜tool▁call▁begin｜>", Body::JsonOrHeader, DEEPSEEK_END),
                    ]
                }
            }
            Self::Kimi => {
                const {
                    &[
                        opener("<|tool_calls_section_begin|>", Body::JsonOrHeader, KIMI_END),
                        opener("<|tool_call_begin|>", Body::JsonOrHeader, KIMI_END),
                    ]
                }
            }
            Self::MiniMax => {
                const {
                    &[
                        opener("<minimax:tool_call>", Body::Noise, &[]),
                        opener("<invoke name=\"", Body::Invoke, MINIMAX_END),
                    ]
                }
            }
            Self::CommandR => {
                const { &[opener("<|START_ACTION|>", Body::Json, &["<|END_ACTION|>"])] }
            }
            Self::Harmony | Self::Plain => &[],
        }
    }
}

/// The tags around a model's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thinking {
    /// Begins it, at the answer's start only.
    pub open: &'static str,
    /// Ends it.
    pub close: &'static str,
}

/// Most models' tags; looked for in every chat answer.
pub const THINK: Thinking = Thinking {
    open: "<think>",
    close: "</think>",
};

const OTHERS: &[Thinking] = &[
    Thinking {
        open: "[THINK]",
        close: "[/THINK]",
    },
    Thinking {
        open: "<seed:think>",
        close: "</seed:think>",
    },
    Thinking {
        open: "<|START_THINKING|>",
        close: "<|END_THINKING|>",
    },
];

impl Thinking {
    /// The tags that a template uses.
    pub fn detect(template: &str) -> Self {
        OTHERS
            .iter()
            .copied()
            .find(|tags| template.contains(tags.open))
            .unwrap_or(THINK)
    }
}

/// Markers around Command-R's prose.
pub(crate) const PROSE_MARKERS: &[Opener] = &[
    opener("<|START_RESPONSE|>", Body::Noise, &[]),
    opener("<|END_RESPONSE|>", Body::Noise, &[]),
    opener("<|START_TEXT|>", Body::Noise, &[]),
    opener("<|END_TEXT|>", Body::Noise, &[]),
];
