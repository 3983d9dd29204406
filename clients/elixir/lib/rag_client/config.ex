defmodule RagClient.Config do
  @moduledoc """
  A client's settings, checked once when it starts.

  | option            | default                     |                                                                       |
  |-------------------|-----------------------------|-----------------------------------------------------------------------|
  | `name`            | required                    | an atom; what every call names                                         |
  | `url`             | `"http://127.0.0.1:8000"`   | also `https://…` and `unix:/path/to/socket`                            |
  | `key`             | none                        | a string, or a function of no arguments that gives one (asked each call) |
  | `transport`       | `RagClient.Transport.HTTP`  | or `RagClient.Transport.Port`; `{module, options}` hands it options    |
  | `json`            | the first that is there     | see `RagClient.JSON`                                                   |
  | `connect_timeout` | 5,000 ms                    | until the connection stands, TLS included                              |
  | `idle_timeout`    | 20,000 ms                   | silence in a stream, where the service sends something every 5 s; 340,000 through the bridge, which has no such sign |
  | `timeout`         | 60,000 ms                   | for everything that is not streamed                                    |
  | `max_mailbox`     | 1,000 messages              | an answer of `query_async/4` that has sent more is held while its owner has more unread, and given up after `idle_timeout` |
  | `max_event_bytes` | 16 MiB                      | one message of a stream                                                |
  | `max_body_bytes`  | 64 MiB                      | an answer that is not streamed                                         |
  | `tls`             | `[]`                        | `:ssl` client options on top of the verified defaults (`cacertfile: …`) |
  """

  @type t :: %__MODULE__{}

  @derive {Inspect, except: [:key, :transport_options, :tls]}
  @enforce_keys [:name]
  defstruct [
    :name,
    :key,
    :json,
    :address,
    :idle_timeout,
    transport: RagClient.Transport.HTTP,
    transport_options: [],
    connect_timeout: 5_000,
    timeout: 60_000,
    max_mailbox: 1_000,
    max_event_bytes: 16 * 1024 * 1024,
    max_body_bytes: 64 * 1024 * 1024,
    tls: []
  ]

  @counts [:connect_timeout, :idle_timeout, :timeout, :max_mailbox, :max_event_bytes, :max_body_bytes]
  # A stream of server-sent events has a heartbeat every 5 s, the bridge's lines have none: there it is the bridge that
  # gives up, after 330 s.
  @idle_timeout 20_000
  @idle_timeouts %{RagClient.Transport.Port => 340_000}
  @known [:name, :url, :key, :transport, :json, :tls | @counts]

  @doc "Raises ArgumentError naming the option."
  @spec new(keyword) :: t
  def new(options) do
    for {option, _} <- options, option not in @known do
      raise ArgumentError,
            "RagClient: unknown option #{inspect(option)}; there is #{Enum.map_join(@known, ", ", &inspect/1)}"
    end

    for option <- @counts, value = options[option], not (is_integer(value) and value > 0) do
      raise ArgumentError, "RagClient: #{inspect(option)} must be a whole number above 0, not #{inspect(value)}"
    end

    {transport, transport_options} = transport(Keyword.get(options, :transport, RagClient.Transport.HTTP))

    struct!(
      __MODULE__,
      Keyword.take(options, [:tls | @counts -- [:idle_timeout]]) ++
        [
          name: name(options[:name]),
          key: key(options[:key]),
          json: RagClient.JSON.codec(options[:json]),
          address: address(Keyword.get(options, :url, "http://127.0.0.1:8000")),
          idle_timeout: options[:idle_timeout] || Map.get(@idle_timeouts, transport, @idle_timeout),
          transport: transport,
          transport_options: transport_options
        ]
    )
  end

  @doc "The key as it is now; nil where there is none."
  @spec current_key(t) :: String.t() | nil
  def current_key(%{key: key}) when is_function(key), do: key.()
  def current_key(%{key: key}), do: key

  defp name(name) when is_atom(name) and name not in [nil, true, false], do: name
  defp name(_), do: raise(ArgumentError, "RagClient: :name is required, an atom like MyApp.Rag")

  defp key(nil), do: nil
  defp key(key) when is_function(key, 0), do: key

  defp key(key) when is_binary(key) do
    unless key =~ ~r/\A[\x21-\x7e]+\z/, do: raise(ArgumentError, "RagClient: :key holds characters that no key has")
    key
  end

  defp key(_), do: raise(ArgumentError, "RagClient: :key must be a string or a function of no arguments")

  defp transport({module, options}) when is_atom(module) and is_list(options), do: {module, options}
  defp transport(module) when is_atom(module), do: {module, []}

  defp transport(other),
    do: raise(ArgumentError, "RagClient: :transport must be a module or {module, options}, not #{inspect(other)}")

  defp address("unix:" <> path) when path != "" do
    path = String.replace_prefix(path, "//", "")
    %{scheme: :unix, host: {:local, path}, port: 0, authority: "localhost", path: ""}
  end

  defp address(url) when is_binary(url) do
    case URI.parse(url) do
      %URI{scheme: scheme, host: host, userinfo: nil, query: nil, fragment: nil} = uri
      when scheme in ["http", "https"] and is_binary(host) and host != "" ->
        bracketed = if String.contains?(host, ":"), do: "[#{host}]", else: host
        port = if uri.port == URI.default_port(scheme), do: "", else: ":#{uri.port}"

        %{
          scheme: String.to_existing_atom(scheme),
          host: String.to_charlist(host),
          port: uri.port,
          authority: bracketed <> port,
          path: String.trim_trailing(uri.path || "", "/")
        }

      _ ->
        raise ArgumentError,
              "RagClient: :url #{inspect(url)} is not an address like http://127.0.0.1:8000 or unix:/path"
    end
  end

  defp address(other), do: raise(ArgumentError, "RagClient: :url must be a string, not #{inspect(other)}")
end
