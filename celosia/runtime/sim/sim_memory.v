// Memory behind the machine's AXI4 port: SIZE bytes from address BASE on, in order.
//
// A burst's first beat comes `+latency` cycles after its address was taken; then one beat per
// cycle, over all bursts, or `+bandwidth` in 256ths of that. Up to `+outstanding` reads wait.
// Addresses outside are answered with a decode error. A burst that breaks the protocol raises
// `broken` for good.

`timescale 1ns / 1ps

module sim_memory #(
    parameter integer WIDTH = 8,
    parameter [31:0] BASE = 0,
    parameter integer SIZE = 65536
) (
    input  wire               clk,
    input  wire               rst,
    output reg                broken,

    input  wire [31:0]        araddr,
    input  wire [7:0]         arlen,
    input  wire [2:0]         arsize,
    input  wire [1:0]         arburst,
    input  wire               arvalid,
    output wire               arready,
    output reg  [8*WIDTH-1:0] rdata,
    output reg  [1:0]         rresp,
    output reg                rlast,
    output reg                rvalid,
    input  wire               rready,

    input  wire [31:0]        awaddr,
    input  wire [7:0]         awlen,
    input  wire [2:0]         awsize,
    input  wire [1:0]         awburst,
    input  wire               awvalid,
    output wire               awready,
    input  wire [8*WIDTH-1:0] wdata,
    input  wire [WIDTH-1:0]   wstrb,
    input  wire               wlast,
    input  wire               wvalid,
    output wire               wready,
    output reg  [1:0]         bresp,
    output reg                bvalid,
    input  wire               bready
);
    localparam integer LANES = WIDTH / 4;
    localparam integer DEPTH = 64;

    reg [31:0] words [0:SIZE/4-1];

    integer latency, outstanding, bandwidth;
    initial begin
        latency = 40;
        outstanding = 32;
        bandwidth = 256;
        if ($value$plusargs("latency=%d", latency)) ;
        if ($value$plusargs("outstanding=%d", outstanding)) ;
        if ($value$plusargs("bandwidth=%d", bandwidth)) ;
        if (outstanding > DEPTH) outstanding = DEPTH;
        if (latency < 1) latency = 1;
    end

    reg [31:0] now;

    // A full beat each, ascending, within a page of 4 KB.
    function wrong(input [31:0] address, input [7:0] len, input [2:0] size, input [1:0] burst);
        wrong = (1 << size) != WIDTH || burst != 2'd1 || (address & (WIDTH - 1)) != 0
            || {20'd0, address[11:0]} + WIDTH * ({24'd0, len} + 1) > 4096;
    endfunction

    // Read: a queue of bursts, then one beat at a time.
    reg [31:0] read_address [0:DEPTH-1];
    reg [31:0] read_time [0:DEPTH-1];
    reg [7:0]  read_length [0:DEPTH-1];
    reg [5:0]  read_put, read_get;
    reg [6:0]  read_count;
    reg [7:0]  read_beat;
    reg [8:0]  read_credit;
    wire [31:0] read_at = read_address[read_get] + WIDTH * read_beat - BASE;
    wire read_due = read_count != 0 && $signed(now - read_time[read_get]) >= 0;
    wire read_go = read_due && (!rvalid || rready) && read_credit + bandwidth >= 256;
    wire read_ends = read_go && read_beat == read_length[read_get];
    assign arready = read_count < outstanding;

    integer i;
    always @(posedge clk) begin
        if (rst) begin
            {read_put, read_get, read_count, read_beat, read_credit} <= 0;
            rvalid <= 0;
        end else begin
            if (arvalid && arready) begin
                read_address[read_put] <= araddr;
                read_time[read_put] <= now + latency - 1;
                read_length[read_put] <= arlen;
                read_put <= read_put + 1;
            end
            read_count <= read_count + (arvalid && arready) - read_ends;
            if (read_go) begin
                for (i = 0; i < LANES; i = i + 1)
                    rdata[32*i +: 32] <= read_at < SIZE ? words[(read_at >> 2) + i] : 0;
                rresp <= read_at < SIZE ? 2'd0 : 2'd3;
                rlast <= read_ends;
                read_beat <= read_ends ? 0 : read_beat + 1;
                read_get <= read_get + read_ends;
                read_credit <= read_credit + bandwidth - 256;
            end else if (read_credit < 256)
                read_credit <= read_credit + bandwidth < 256 ? read_credit + bandwidth : 256;
            if (read_go) rvalid <= 1;
            else if (rready) rvalid <= 0;
        end
    end

    // Write: one burst after the other; its response waits for the latency.
    reg [31:0] write_address;
    reg [7:0]  write_more;
    reg        write_active, write_failed;
    reg [8:0]  write_credit;
    reg [31:0] answer_time [0:DEPTH-1];
    reg        answer_failed [0:DEPTH-1];
    reg [5:0]  answer_put, answer_get;
    reg [6:0]  answer_count;
    wire [31:0] write_at = write_address - BASE;
    wire write_outside = write_at >= SIZE;
    wire answer_due = answer_count != 0 && $signed(now - answer_time[answer_get]) >= 0;
    wire answer_go = answer_due && (!bvalid || bready);
    wire write_go = wvalid && wready;
    wire write_ends = write_go && write_more == 0;
    assign wready = write_active && answer_count < DEPTH && write_credit + bandwidth >= 256;
    assign awready = !write_active || write_ends;

    integer j;
    always @(posedge clk) begin
        if (rst) begin
            {write_active, write_failed, write_credit} <= 0;
            {answer_put, answer_get, answer_count} <= 0;
            bvalid <= 0;
        end else begin
            if (write_go) begin
                for (j = 0; j < WIDTH; j = j + 1)
                    if (wstrb[j] && !write_outside)
                        words[(write_at >> 2) + j / 4][8 * (j % 4) +: 8] <= wdata[8*j +: 8];
                write_address <= write_address + WIDTH;
                write_more <= write_more - 1;
                write_failed <= write_failed | write_outside;
                write_credit <= write_credit + bandwidth - 256;
            end else if (write_credit < 256)
                write_credit <= write_credit + bandwidth < 256 ? write_credit + bandwidth : 256;
            if (write_ends) begin
                answer_time[answer_put] <= now + latency - 1;
                answer_failed[answer_put] <= write_failed | write_outside;
                answer_put <= answer_put + 1;
                write_active <= 0;
            end
            if (awvalid && awready) begin
                write_address <= awaddr;
                write_more <= awlen;
                write_active <= 1;
                write_failed <= 0;
            end
            answer_count <= answer_count + write_ends - answer_go;
            if (answer_go) begin
                bvalid <= 1;
                bresp <= answer_failed[answer_get] ? 2'd3 : 2'd0;
                answer_get <= answer_get + 1;
            end else if (bready) bvalid <= 0;
        end
    end

    always @(posedge clk) begin
        now <= rst ? 0 : now + 1;
        if (rst) broken <= 0;
        else if ((arvalid && arready && wrong(araddr, arlen, arsize, arburst))
            || (awvalid && awready && wrong(awaddr, awlen, awsize, awburst))
            || (write_go && wlast != (write_more == 0)))
            broken <= 1;
    end

    // The host's side, in no time: files hold bytes in ascending order.
    task load(input integer file, input [31:0] offset, input [31:0] bytes);
        reg [31:0] word;
        integer at, got;
        for (at = 0; at < bytes; at = at + 4) begin
            word = 0;
            got = $fread(word, file);
            words[(offset + at) >> 2] = {word[7:0], word[15:8], word[23:16], word[31:24]};
        end
    endtask

    task dump(input integer file, input [31:0] offset, input [31:0] bytes);
        integer at;
        for (at = 0; at < bytes; at = at + 4) $fwrite(file, "%u", words[(offset + at) >> 2]);
    endtask
endmodule
