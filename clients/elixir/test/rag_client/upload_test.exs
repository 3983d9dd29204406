defmodule RagClient.UploadTest do
  use RagClient.ClientCase, async: true

  setup :folder

  defp accepted, do: [{:send, whole(202, "application/json", json(%{"job_id" => "j", "documents" => []}))}]

  defp file(folder, name, content) do
    path = Path.join(folder, name)
    File.write!(path, content)
    path
  end

  # The parts of a form, each as its head and its content.
  defp parts(%{head: head, body: body}) do
    [_, boundary] = Regex.run(~r/content-type: multipart\/form-data; boundary=(\S+)\r\n/, head)
    assert ["" | parts] = String.split(body, "--" <> boundary)
    assert {inner, ["--\r\n"]} = Enum.split(parts, -1)
    for part <- inner, do: part |> String.trim_leading("\r\n") |> String.split("\r\n\r\n", parts: 2) |> List.to_tuple()
  end

  test "files go as a form, with the fields of all of them", %{folder: folder} do
    client = client(ScriptedServer.start(accepted()), key: "rag_k")
    # More than a piece, and bytes that are no text.
    large = :binary.copy(<<0, 255, 13, 10>>, 50_000)
    files = [file(folder, "č.md", "# Č"), {file(folder, "x", large), "a\"b\r\nc.bin"}, file(folder, "empty", "")]
    options = [collection: "c", bulk: true, metadata: %{"year" => 2009}, idempotency_key: "k"]
    assert {:ok, %{"job_id" => "j"}} = RagClient.upload_documents(client, "acme", files, options)
    assert_received {:request, %{head: head, body: body} = request}
    assert head =~ "POST /v1/documents HTTP/1.1\r\n"
    assert head =~ "\r\nx-tenant-id: acme\r\n"
    assert head =~ "\r\nidempotency-key: k\r\n"
    assert head =~ "\r\ncontent-length: #{byte_size(body)}"

    assert Enum.sort(parts(request)) ==
             Enum.sort([
               {"content-disposition: form-data; name=\"bulk\"", "true\r\n"},
               {"content-disposition: form-data; name=\"collection\"", "c\r\n"},
               {"content-disposition: form-data; name=\"metadata\"", ~s({"year":2009}\r\n)},
               {"content-disposition: form-data; name=\"files\"; filename=\"č.md\"", "# Č\r\n"},
               {"content-disposition: form-data; name=\"files\"; filename=\"a\\\"b%0D%0Ac.bin\"", large <> "\r\n"},
               {"content-disposition: form-data; name=\"files\"; filename=\"empty\"", "\r\n"}
             ])
  end

  test "what is no file is named, and nothing is sent", %{folder: folder} do
    client = client(ScriptedServer.start(accepted()))
    pipe = Path.join(folder, "pipe")
    {_, 0} = System.cmd("mkfifo", [pipe])

    for {files, told} <- [
          {[Path.join(folder, "nothing")], "nothing cannot be read: no such file"},
          {[folder], "is no file but a directory"},
          {[pipe], "is no file but a other"},
          {[], "there is no file"}
        ] do
      assert {:error, %Error{kind: :protocol, retryable?: false, message: message}} =
               RagClient.upload_documents(client, nil, files)

      assert message =~ told
    end

    refute_received {:request, _}

    assert_raise ArgumentError, ~r/unknown option :colection/, fn ->
      RagClient.upload_documents(client, nil, [], colection: "c")
    end
  end

  test "a file that becomes shorter while it is sent ends the call with its name", %{folder: folder} do
    upload = %RagClient.Upload{boundary: "b", parts: [{file(folder, "short", "abc"), 5}], bytes: 5}
    test = self()

    assert RagClient.Upload.send_to(upload, fn bytes -> send(test, {:sent, bytes}) && :ok end) ==
             {:error, {Path.join(folder, "short"), "it became shorter while it was sent"}}

    assert_received {:sent, "abc"}
    url = ScriptedServer.start([:until_closed])
    client = client(url)

    assert {:error, %Error{kind: :protocol, message: message}} = RagClient.Calls.send_upload(client, nil, upload, [])

    assert message =~ "short cannot be sent: it became shorter"
    eventually(fn -> calls(client) == 0 end)
  end

  test "a file that cannot be read while it is sent ends the call with its name" do
    # There is nothing at the address 0 of any process: reading it is an I/O error.
    upload = %RagClient.Upload{boundary: "b", parts: [{"/proc/self/mem", 5}], bytes: 5}
    assert {:error, {"/proc/self/mem", why}} = RagClient.Upload.send_to(upload, fn _ -> :ok end)
    assert to_string(why) == "I/O error"
    client = client(ScriptedServer.start([:until_closed]))

    assert {:error, %Error{kind: :protocol, message: "/proc/self/mem cannot be sent: I/O error"}} =
             RagClient.Calls.send_upload(client, nil, upload, timeout: 5_000)

    eventually(fn -> calls(client) == 0 end)
  end

  test "what is wrong with the connection is not said of a file", %{folder: folder} do
    upload = %RagClient.Upload{boundary: "b", parts: [{file(folder, "a", "abc"), 3}], bytes: 3}
    assert RagClient.Upload.send_to(upload, fn _ -> {:error, :closed} end) == {:error, :closed}
  end

  test "a refusal that comes while files are on their way is read, and the sending ends", %{folder: folder} do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(listener)
    problem = json(%{"title" => "Too large", "detail" => "at most 1 MB", "code" => "document_too_large"})

    server =
      Task.async(fn ->
        {:ok, socket} = :gen_tcp.accept(listener)
        {:ok, _} = :gen_tcp.recv(socket, 0)
        :ok = :gen_tcp.send(socket, whole(413, "application/problem+json", problem))
        # It never reads the rest.
        receive do: (:over -> :gen_tcp.close(socket))
      end)

    client = client("http://127.0.0.1:#{port}")
    large = file(folder, "large", :binary.copy("x", 30_000_000))

    assert {:error, %Error{status: 413, code: "document_too_large"}} =
             RagClient.upload_documents(client, nil, [large], timeout: 20_000)

    eventually(fn -> calls(client) == 0 end)
    send(server.pid, :over)
    Task.await(server)
  end
end
