defmodule RagClient.TLSTest do
  use RagClient.ClientCase, async: true

  # Not ExUnit's own, which lies in the checkout and stays.
  setup do
    folder = Path.join(System.tmp_dir!(), "rag-client-#{System.unique_integer([:positive])}-#{System.system_time()}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    %{folder: folder}
  end

  # A chain of its own: the client is given its root, or not.
  defp chain(host) do
    key = {:namedCurve, :secp256r1}
    name = {:Extension, {2, 5, 29, 17}, false, [dNSName: host]}

    :public_key.pkix_test_data(%{
      server_chain: %{root: [key: key], intermediates: [], peer: [key: key, extensions: [name]]},
      client_chain: %{root: [key: key], intermediates: [], peer: [key: key]}
    })
  end

  defp root_file(folder, %{client_config: config}) do
    path = Path.join(folder, "root.pem")
    entries = for certificate <- config[:cacerts], do: {:Certificate, certificate, :not_encrypted}
    File.write!(path, :public_key.pem_encode(entries))
    path
  end

  test "a verified server is answered by", %{folder: folder} do
    chain = chain(~c"localhost")
    url = ScriptedServer.start(answer(), tls: chain.server_config)
    client = client(url, tls: [cacertfile: root_file(folder, chain)])
    assert {:ok, %Answer{text: "Žalba"}} = RagClient.query(client, nil, "?")
  end

  test "an unknown authority is refused: verified against the system's own unless told otherwise" do
    url = ScriptedServer.start(answer(), tls: chain(~c"localhost").server_config)
    client = client(url)
    assert {:error, %Error{kind: :transport, message: message}} = RagClient.query(client, nil, "?")
    assert message =~ "TLS"
    refute_received {:request, _}
  end

  test "another host's certificate is refused", %{folder: folder} do
    chain = chain(~c"elsewhere.example")
    url = ScriptedServer.start(answer(), tls: chain.server_config)
    client = client(url, tls: [cacertfile: root_file(folder, chain)])
    assert {:error, %Error{kind: :transport, message: message}} = RagClient.query(client, nil, "?")
    assert message =~ "TLS"
    refute_received {:request, _}
  end

  test "cancel and the owner's end close it", %{folder: folder} do
    chain = chain(~c"localhost")

    url =
      ScriptedServer.start([{:send, head()}, {:send, chunk(event(sources()))}, :until_closed], tls: chain.server_config)

    client = client(url, tls: [cacertfile: root_file(folder, chain)])
    {:ok, ref} = RagClient.query_async(client, nil, "?")
    assert_receive {:rag_client, ^ref, {:sources, _}}, 5_000
    RagClient.cancel(ref)
    assert_receive :client_closed
  end

  test "what does not speak TLS is told as that" do
    {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(listener)
    client = client("https://localhost:#{port}", connect_timeout: 200)
    assert {:error, %Error{kind: :transport}} = RagClient.query(client, nil, "?")
  end
end
