defmodule RagClient.Webhook do
  @moduledoc """
  Verifies the service's messages, which are signed as Standard Webhooks define it, over the bytes as they came.

  `RagClient.Webhook.Plug` does it in a Phoenix app's endpoint. Elsewhere:

      {:ok, %{"type" => "job.completed", "data" => job}} = RagClient.Webhook.verify(body, headers, secret)

  `headers` are `{name, value}`, names in lower case. A secret is what the service shows when a tenant's webhook is set
  (`whsec_…`). While a secret is being changed, give both in a list. A message may come twice, with the same
  `webhook-id`.
  """

  alias RagClient.JSON

  @tolerance_s 300
  @prefix "whsec_"

  @type reason :: :missing_header | :timestamp_out_of_range | :no_matching_signature | :not_json

  @doc """
  The message, if one of the secrets signed it within `:tolerance_s` (five minutes) of now.

  Options: `:tolerance_s`, and `:json`, a codec as in `RagClient.Config`. Raises ArgumentError for a secret that is none.
  """
  @spec verify(binary, [{String.t(), String.t()}], String.t() | [String.t()], keyword) :: {:ok, map} | {:error, reason}
  def verify(body, headers, secrets, options \\ []) do
    keys = secrets |> List.wrap() |> Enum.map(&key/1)

    with {:ok, id} <- header(headers, "webhook-id"),
         {:ok, timestamp} <- header(headers, "webhook-timestamp"),
         {:ok, signatures} <- header(headers, "webhook-signature"),
         :ok <- in_time(timestamp, Keyword.get(options, :tolerance_s, @tolerance_s)),
         :ok <- signed("#{id}.#{timestamp}.#{body}", signatures, keys) do
      decode(body, options[:json])
    end
  end

  defp header(headers, name) do
    case List.keyfind(headers, name, 0) do
      {_, value} -> {:ok, value}
      nil -> {:error, :missing_header}
    end
  end

  defp in_time(timestamp, tolerance_s) do
    case Integer.parse(timestamp) do
      {seconds, ""} -> if abs(System.os_time(:second) - seconds) <= tolerance_s, do: :ok, else: out_of_range()
      _ -> out_of_range()
    end
  end

  defp out_of_range, do: {:error, :timestamp_out_of_range}

  # A message may carry several signatures, as `v1,BASE64` each, a blank between.
  defp signed(content, signatures, keys) do
    given = for "v1," <> encoded <- String.split(signatures, " "), {:ok, mac} <- [Base.decode64(encoded)], do: mac
    expected = for key <- keys, do: :crypto.mac(:hmac, :sha256, key, content)

    if Enum.any?(for(mac <- given, own <- expected, do: equal?(mac, own))),
      do: :ok,
      else: {:error, :no_matching_signature}
  end

  # In a time that does not tell how many bytes are right. (:crypto.hash_equals needs OTP 25, and raises for other sizes.)
  defp equal?(left, right), do: byte_size(left) == byte_size(right) and :crypto.hash_equals(left, right)

  defp decode(body, json) do
    case JSON.decode(JSON.codec(json), body) do
      {:ok, message} when is_map(message) -> {:ok, message}
      _ -> {:error, :not_json}
    end
  end

  defp key(@prefix <> encoded = secret) do
    case Base.decode64(encoded) do
      {:ok, key} when key != "" -> key
      _ -> not_a_secret(secret)
    end
  end

  defp key(secret), do: not_a_secret(secret)

  # Without the secret itself, which would then stand in a log.
  defp not_a_secret(_), do: raise(ArgumentError, "a webhook's secret is #{@prefix} and base64")
end
