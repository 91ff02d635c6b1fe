// The machine, its memory, and a host that executes the script `+script`, a command a line. The
// script may be a pipe: the simulation then stands still until the next command comes.
//
//   W address value         write a register
//   R address               read a register; its value goes to the log `+log` in hexadecimal
//   I cycles                wait for the interrupt, at most so many cycles
//   L offset bytes file     a file to the window's memory
//   D offset bytes file     the window's memory to a file
//   E                       end
//   X                       end, if the interrupt did not come
//
// Numbers are hexadecimal, offsets and bytes multiples of 4. On-chip memory is moved through the
// machine's own register port. `failure` at the end: 1 script, 2 no interrupt, 3 error response,
// 4 a file, 5 a broken protocol on the memory's port.
//
// With `+events` the machine's trace goes to that file, a record for each cycle in which something
// begins, ends or changes, for every 256th, and one at the end of each run. A record is four words of 32 bits: the
// cycle of the run; what happens in it (`happens` below); beats read and written before it.
//
// `spent` counts the cycles of all runs that an SDRAM spends on words (low 32 bits), on refreshes,
// and on opening rows; or a flash on data, on commands and addresses, and on waiting for its clock.
//
// What is written in capitals with a backtick comes from the configuration.

`timescale 1ns / 1ps

module sim_top (
    output reg         finished,
    output reg  [7:0]  failure,
    output reg  [63:0] cycles,
    output reg  [95:0] spent
);
    localparam [3:0] FETCH = 0, WRITE = 1, ACKNOWLEDGE = 2, READ = 3, ANSWER = 4, WAIT = 5,
        LOAD = 6, DUMP = 7, END = 8;

    wire        interrupt;
    reg  [31:0] address, value;
    reg         awvalid, wvalid, arvalid;
    wire        awready, wready, arready, bvalid, rvalid;
    wire [1:0]  bresp, rresp;
    wire [31:0] rdata;

    reg [3:0]   state;
    reg [31:0]  left;
    reg         moving;
    integer     script, log, file, got;
    reg [31:0]  first, second, word;
    reg [7:0]   command;
    string      name;

    // Of the model of the memory: the first rule broken, and what a cycle goes to (see `spent`).
    wire [7:0] violation;
    wire [1:0] doing;
    wire       broken = violation != 0;

    // The clock is made here: one that cocotb drives costs two writes through the VPI a cycle. The
    // reset comes from a register: what depends on an input, or on logic, is computed again at
    // every event, and most of the machine's logic sees the reset.
    reg       clk = 0, rst = 1;
    reg [1:0] reset_cycles = 3;
    always #5 clk = !clk;
    always @(posedge clk) begin
        rst <= reset_cycles != 0;
        if (reset_cycles != 0) reset_cycles <= reset_cycles - 1;
    end

    accelerator machine (
        .clk(clk),
        .rst(rst),
        .s_axi_lite__awaddr(address),
        .s_axi_lite__awprot(3'd0),
        .s_axi_lite__awvalid(awvalid),
        .s_axi_lite__awready(awready),
        .s_axi_lite__wdata(value),
        .s_axi_lite__wstrb(4'hf),
        .s_axi_lite__wvalid(wvalid),
        .s_axi_lite__wready(wready),
        .s_axi_lite__bresp(bresp),
        .s_axi_lite__bvalid(bvalid),
        .s_axi_lite__bready(state == ACKNOWLEDGE),
        .s_axi_lite__araddr(address),
        .s_axi_lite__arprot(3'd0),
        .s_axi_lite__arvalid(arvalid),
        .s_axi_lite__arready(arready),
        .s_axi_lite__rdata(rdata),
        .s_axi_lite__rresp(rresp),
        .s_axi_lite__rvalid(rvalid),
        .s_axi_lite__rready(state == ANSWER),
`ifdef EXTERNAL
        .m_axi__arid(),
        .m_axi__araddr(m_araddr),
        .m_axi__arlen(m_arlen),
        .m_axi__arsize(m_arsize),
        .m_axi__arburst(m_arburst),
        .m_axi__arvalid(m_arvalid),
        .m_axi__arready(m_arready),
        .m_axi__rid(1'b0),
        .m_axi__rdata(m_rdata),
        .m_axi__rresp(m_rresp),
        .m_axi__rlast(m_rlast),
        .m_axi__rvalid(m_rvalid),
        .m_axi__rready(m_rready),
        .m_axi__awid(),
        .m_axi__awaddr(m_awaddr),
        .m_axi__awlen(m_awlen),
        .m_axi__awsize(m_awsize),
        .m_axi__awburst(m_awburst),
        .m_axi__awvalid(m_awvalid),
        .m_axi__awready(m_awready),
        .m_axi__wdata(m_wdata),
        .m_axi__wstrb(m_wstrb),
        .m_axi__wlast(m_wlast),
        .m_axi__wvalid(m_wvalid),
        .m_axi__wready(m_wready),
        .m_axi__bid(1'b0),
        .m_axi__bresp(m_bresp),
        .m_axi__bvalid(m_bvalid),
        .m_axi__bready(m_bready),
`endif
`ifdef SDRAM
        .sdram__clk_en(sdram_clk_en),
        .sdram__cs(sdram_cs),
        .sdram__ras(sdram_ras),
        .sdram__cas(sdram_cas),
        .sdram__we(sdram_we),
        .sdram__ba(sdram_ba),
        .sdram__a(sdram_a),
        .sdram__dqm(sdram_dqm),
        .sdram__dq_o(sdram_dq_o),
        .sdram__dq_oe(sdram_dq_oe),
        .sdram__dq_i(sdram_dq_i),
`endif
`ifdef FLASH
        .flash__cs(flash_cs),
        .flash__clk(flash_clk),
        .flash__dq_o(flash_dq_o),
        .flash__dq_oe(flash_dq_oe),
        .flash__dq_i(flash_dq_i),
`endif
        .interrupt(interrupt),
        .trace__busy(busy),
        .trace__starts(starts),
        .trace__ends(ends),
        .trace__waits(waits),
        .trace__row(row),
        .trace__waits_tile(waits_tile),
        .trace__waits_bank(waits_bank),
        .trace__reads(beat_read),
        .trace__writes(beat_written)
    );

    wire       busy, row, waits_tile, waits_bank, beat_read, beat_written;
    wire [3:0] starts, ends, waits;
    wire [6:0] lasts = {waits, waits_bank, waits_tile, row};
    wire [31:0] happens = {17'd0, ends, starts, lasts};
    reg  [6:0] lasted;
    reg        was_busy;
    reg [31:0] cycle, reads, writes;
    integer    events;

    always @(posedge clk)
        if (busy && doing != 0) spent[32*(doing-1) +: 32] <= spent[32*(doing-1) +: 32] + 1;

    always @(posedge clk) if (events != 0) begin
        was_busy <= busy;
        lasted <= lasts;
        cycle <= busy ? cycle + 1 : 0;
        reads <= busy ? reads + beat_read : 0;
        writes <= busy ? writes + beat_written : 0;
        if (busy ? cycle % 256 == 0 || lasts != lasted || starts != 0 || ends != 0 : was_busy)
            $fwrite(events, "%u%u%u%u", cycle, busy ? happens : 0, reads, writes);
    end

`ifdef EXTERNAL
    wire [31:0] m_araddr, m_awaddr;
    wire [7:0]  m_arlen, m_awlen;
    wire [2:0]  m_arsize, m_awsize;
    wire [1:0]  m_arburst, m_awburst, m_rresp, m_bresp;
    wire        m_arvalid, m_arready, m_rlast, m_rvalid, m_rready;
    wire        m_awvalid, m_awready, m_wlast, m_wvalid, m_wready, m_bvalid, m_bready;
    wire [8*`WIDTH-1:0] m_rdata, m_wdata;
    wire [`WIDTH-1:0]   m_wstrb;

    assign violation[7:1] = 0;
    assign doing = 0;
    sim_memory #(.WIDTH(`WIDTH), .BASE(`BASE), .SIZE(`SIZE)) memory (
        .clk(clk), .rst(rst), .broken(violation[0]),
        .araddr(m_araddr), .arlen(m_arlen), .arsize(m_arsize), .arburst(m_arburst),
        .arvalid(m_arvalid), .arready(m_arready),
        .rdata(m_rdata), .rresp(m_rresp), .rlast(m_rlast), .rvalid(m_rvalid), .rready(m_rready),
        .awaddr(m_awaddr), .awlen(m_awlen), .awsize(m_awsize), .awburst(m_awburst),
        .awvalid(m_awvalid), .awready(m_awready),
        .wdata(m_wdata), .wstrb(m_wstrb), .wlast(m_wlast), .wvalid(m_wvalid), .wready(m_wready),
        .bresp(m_bresp), .bvalid(m_bvalid), .bready(m_bready)
    );
`elsif SDRAM
    wire        sdram_clk_en, sdram_cs, sdram_ras, sdram_cas, sdram_we, sdram_dq_oe;
    wire [1:0]  sdram_ba, sdram_dqm;
    wire [12:0] sdram_a;
    wire [15:0] sdram_dq_o, sdram_dq_i;

    sdram_model #(`SDRAM) memory (
        .clk(clk), .rst(rst),
        .clk_en(sdram_clk_en), .cs(sdram_cs), .ras(sdram_ras), .cas(sdram_cas), .we(sdram_we),
        .ba(sdram_ba), .a(sdram_a), .dqm(sdram_dqm),
        .dq_o(sdram_dq_o), .dq_oe(sdram_dq_oe), .dq_i(sdram_dq_i),
        .violation(violation), .words(), .refreshed(), .doing(doing)
    );
`elsif FLASH
    wire       flash_cs, flash_clk, flash_dq_oe;
    wire [3:0] flash_dq_o, flash_dq_i;

    flash_model #(`FLASH) memory (
        .clk(clk), .rst(rst), .cs(flash_cs), .sck(flash_clk),
        .dq_o(flash_dq_o), .dq_oe(flash_dq_oe), .dq_i(flash_dq_i),
        .violation(violation), .reads(), .doing(doing)
    );
`else
    assign violation = 0;
    assign doing = 0;
`endif

    initial begin
        spent = 0;
        if (!$value$plusargs("script=%s", name)) name = "script.txt";
        script = $fopen(name, "r");
        if (!$value$plusargs("log=%s", name)) name = "log.txt";
        log = $fopen(name, "w");
        events = 0;
        if ($value$plusargs("events=%s", name)) events = $fopen(name, "wb");
    end

    task fail(input [7:0] why);
        if (failure == 0) failure <= why;
        state <= END;
    endtask

    task fetch;
        got = $fscanf(script, " %c", command);
        case (got == 1 ? command : "?")
            "W": begin
                got = $fscanf(script, "%h %h", first, second);
                address <= first;
                value <= second;
                {awvalid, wvalid} <= 2'b11;
                state <= WRITE;
            end
            "R": begin
                got = $fscanf(script, "%h", first);
                address <= first;
                arvalid <= 1;
                state <= READ;
            end
            "I": begin
                got = $fscanf(script, "%h", first);
                left <= first;
                state <= WAIT;
            end
            "L": begin
                got = $fscanf(script, "%h %h %s", first, second, name);
                file = $fopen(name, "rb");
                if (file == 0) fail(4);
                else move(LOAD);
            end
            "D": begin
                got = $fscanf(script, "%h %h %s", first, second, name);
                file = $fopen(name, "wb");
                if (file == 0) fail(4);
                else move(DUMP);
            end
            "E": state <= END;
            "X": begin
                if (events != 0) $fflush(events);
                if (failure != 0) state <= END;
            end
            default: fail(1);
        endcase
    endtask

    // Begin to move `second` bytes at offset `first` between memory and `file`.
    task move(input [3:0] how);
`ifdef PORT
        address <= `PORT + first;
        left <= second;
        moving <= 1;
        state <= how;
`else
        if (how == LOAD) memory.load(file, first, second);
        else memory.dump(file, first, second);
        $fclose(file);
`endif
    endtask

    always @(posedge clk) begin
        cycles <= rst ? 0 : cycles + 1;
        if (rst) begin
            {awvalid, wvalid, arvalid, finished, moving} <= 0;
            failure <= 0;
            state <= FETCH;
        end else if (broken) begin
            fail(5);
            finished <= 1;
        end else case (state)
            FETCH: fetch;
            WRITE: begin
                if (awready) awvalid <= 0;
                if (wready) wvalid <= 0;
                if ((awready || !awvalid) && (wready || !wvalid)) state <= ACKNOWLEDGE;
            end
            ACKNOWLEDGE: if (bvalid) begin
                address <= address + 4;
                if (bresp != 0) fail(3);
                else state <= moving ? LOAD : FETCH;
            end
            READ: if (arready) begin
                arvalid <= 0;
                state <= ANSWER;
            end
            ANSWER: if (rvalid) begin
                address <= address + 4;
                if (moving) $fwrite(file, "%u", rdata);
                else begin
                    $fwrite(log, "%08x\n", rdata);
                    $fflush(log);
                end
                if (rresp != 0) fail(3);
                else state <= moving ? DUMP : FETCH;
            end
            WAIT: begin
                left <= left - 1;
                if (interrupt) state <= FETCH;
                else if (left == 0) begin
                    failure <= 2;
                    state <= FETCH;  // the counters say where it hangs
                end
            end
            LOAD, DUMP: if (left == 0) begin
                $fclose(file);
                moving <= 0;
                state <= FETCH;
            end else begin
                left <= left - 4;
                if (state == LOAD) begin
                    word = 0;
                    got = $fread(word, file);
                    value <= {word[7:0], word[15:8], word[23:16], word[31:24]};
                    {awvalid, wvalid} <= 2'b11;
                    state <= WRITE;
                end else begin
                    arvalid <= 1;
                    state <= READ;
                end
            end
            default: begin
                if (!finished) $fclose(log);
                if (!finished && events != 0) $fflush(events);
                finished <= 1;
            end
        endcase
    end
endmodule
